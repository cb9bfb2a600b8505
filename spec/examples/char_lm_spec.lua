-- examples/char_lm.lua as its users run it: tiny texts, tiny models.

local lurn = require "lurn"
local json = require "lurn.data.json"

local program = (os.getenv "LURN" or "build/bin/lurn") .. " examples/char_lm.lua"
local directory

local ENGLISH = "the cat sat on the mat. the dog ran after the cat; the cat ran up a tree.\n"
local KOREAN = "나는 학교에 간다. 너는 집에 온다. 우리는 책을 읽는다.\n"

local function quote(s) return "'" .. s:gsub("'", "'\\''") .. "'" end

local function shell(command)
  local pipe = assert(io.popen(command))
  local output = pipe:read "a"
  local _, _, status = pipe:close()
  return output, status
end

local function write(name, text)
  local file = assert(io.open(directory .. "/" .. name, "wb"))
  assert(file:write(text))
  file:close()
  return directory .. "/" .. name
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

local function exists(name)
  local file = io.open(directory .. "/" .. name)
  if file then file:close() end
  return file ~= nil
end

-- Runs the program with shell words; returns standard output and error together, and the exit status.
local function run(words) return shell(program .. " " .. words .. " 2>&1 </dev/null") end

-- The options of a model that learns in no time; `dir` is where its checkpoints go.
local function tiny(dir, more)
  return ("%s --rnn_size 8 --embedding_size 4 --batch_size 4 --seq_length 10 --sample_length 0 --num_threads 1 "
    .. "--learning_rate 0.01 --checkpoint_dir %s/%s %s"):format(quote(directory .. "/text.txt"), directory, dir,
    more or "")
end

local function go_on(dir, more)
  return ("--init_from %s/%s/last.safetensors --sample_length 0 --num_threads 1 --checkpoint_dir %s/%s %s"):format(
    directory, dir, directory, dir, more or "")
end

-- Memory that an absurd model cannot have; sanitizers need more than the limit leaves.
local LIMIT = (function()
  local file = io.open(os.getenv "LURN" or "build/bin/lurn", "rb")
  local sanitized = file and file:read("a"):find "__[at]san_init" ~= nil
  if file then file:close() end
  return sanitized and "ASAN_OPTIONS=$ASAN_OPTIONS:allocator_may_return_null=1:max_allocation_size_mb=4000 "
    or "ulimit -v 8000000;"
end)()

-- What --json wrote: the losses of the batches by step, as text, and the other reports in order.
local function reports(name)
  local losses, others = {}, {}
  for line in io.lines(directory .. "/" .. name) do
    local fields = assert(json.decode(line))
    if fields.event == "batch" then
      losses[fields.step] = ("%.17g"):format(fields.loss)
    else
      others[#others + 1] = fields
    end
  end
  return losses, others
end

describe("examples/char_lm.lua", function()
  before_each(function()
    directory = shell("mktemp -d"):gsub("%s+$", "")
    write("text.txt", ENGLISH:rep(20)) -- 1480 characters: 35 batches of 4 x 10 in an epoch
  end)

  after_each(function() shell("rm -rf " .. quote(directory)) end)

  describe("training", function()
    it("prints plain lines, saves best and last, and ends with the numbers", function()
      local output, status = run(tiny("cv", "--max_epochs 2 --print_every 10"))
      assert.equal(0, status, output)
      assert.falsy(output:find "[\r\27]")
      assert.matches("lstm: 2 layers of 8, embedding 4, %d+ parameters\n", output)
      assert.matches("text: .-/text%.txt\n1480 chars, %d+ different; 1406 to learn from, 74 for validation\n", output)
      assert.matches("\nepoch 0%.29/2  batch 10/70  loss %d%.%d%d%d%d  %d+ chars/s  0:%d%d left\n", output)
      assert.matches("\nepoch 1%.00: train loss %d%.%d+, valid loss %d%.%d+ nats/char, %d+ chars/s, 0:%d%d", output)
      assert.matches("\ntry next:\n", output)
      assert.matches("\ndone: 2%.00 epochs in 0:%d%d, valid loss %d%.%d%d%d%d nats/char, %d+ chars/s\n$", output)
      local _, metadata = assert(lurn.load(directory .. "/cv/best.safetensors"))
      assert.equal("lurn.char_lm", metadata.format)
      assert.truthy(exists "cv/last.safetensors")
    end)

    it("learns", function()
      local output = run(tiny("cv", "--max_epochs 12 --rnn_size 32 --print_every 0 --json " .. directory .. "/log"))
      local _, validations = reports "log"
      assert.truthy(validations[12].valid_loss < 1.2, output)
      assert.truthy(validations[12].valid_loss < validations[1].valid_loss - 1)
      assert.equal("end", validations[13].event)
      assert.equal(validations[12].valid_loss, validations[13].valid_loss)
      assert.truthy(validations[13].tokens_per_second > 0)
    end)

    for _, model in ipairs { "rnn", "gru", "lstm" } do
      for _, level in ipairs { "bytes", "utf8", "word" } do
        it(("and sampling go with a %s on %s"):format(model, level), function()
          local output, status = run(tiny("cv", ("--model %s --level %s --max_epochs 1 --seq_length 5"):format(model,
            level)))
          assert.equal(0, status, output)
          output, status = run(("--sample --init_from %s/cv/best.safetensors --length 20 --primetext 'the'"):format(
            directory))
          assert.equal(0, status, output)
          assert.equal("the", output:sub(1, 3))
        end)
      end
    end

    it("shows samples", function()
      local output = run(tiny("cv", "--max_epochs 2 --sample_length 17 --primetext 'the '"))
      local n = 0
      for text in output:gmatch "%-%-%-%- sample, temperature 1 %-%-%-%-\n(.-)\n%-%-%-%-" do
        n = n + 1
        assert.equal("the ", text:sub(1, 4))
        assert.equal(21, #text)
      end
      assert.equal(2, n) -- after the first epoch and at the end
    end)

    it("stops after a time", function()
      local output, status = run(tiny("cv", "--max_epochs 1e6 --max_minutes 0.01 --print_every 0"))
      assert.equal(0, status)
      assert.matches("\ndone: %d+%.%d%d epochs in 0:0%d, valid loss", output)
      assert.truthy(exists "cv/last.safetensors")
    end)

    it("rewrites one line on a terminal", function()
      if select(2, shell "script -qec true /dev/null </dev/null >/dev/null 2>&1") ~= 0 then
        pending "no pseudo-terminal is to be had with script(1)"
        return
      end
      local output = shell(("script -qec %s /dev/null </dev/null"):format(quote(program .. " " ..
        tiny("cv", "--max_epochs 60"))))
      assert.matches("\repoch [%d.]+/60  batch %d+/2100  loss [%d.]+  %d+ chars/s  0:%d%d left\27%[K\r", output)
      assert.matches("\r\27%[Kepoch %d+%.00: train loss", output)
    end)

    it("understands other spellings", function()
      local output, status = run(tiny("cv", "-max-epochs 0.1 --wordvec-size 3 -model_type gru"))
      assert.equal(0, status, output)
      assert.matches("gru: 2 layers of 8, embedding 3,", output)
    end)

    it("takes a name for the checkpoints, and several texts", function()
      local more = write("more.txt", ENGLISH:rep(3))
      local output, status = run(tiny("cv", ("--max_epochs 0.1 --checkpoint_name a -i %s"):format(more)))
      assert.equal(0, status, output)
      assert.truthy(exists "cv/a-best.safetensors")
      assert.matches("\n1702 chars", output)
      run(tiny("cv", ("--max_epochs 0.1 --checkpoint_name %s/deep/er/b"):format(directory)))
      assert.truthy(exists "deep/er/b-last.safetensors")
    end)
  end)

  describe("going on", function()
    local LOG = "--dropout 0.3 --print_every 1 --json %s/%s --eval_every 20 --max_epochs %g"

    it("after a checkpoint is the same as never having stopped", function()
      assert.equal(0, select(2, run(tiny("whole", LOG:format(directory, "whole.log", 3)))))
      assert.equal(0, select(2, run(tiny("parts", LOG:format(directory, "parts.log", 0.7)))))
      for _, epochs in ipairs { 1, 2.2, 3 } do
        local output, status = run(go_on("parts", ("--json %s/parts.log --max_epochs %g"):format(directory, epochs)))
        assert.equal(0, status, output)
        assert.matches("going on from .- at epoch [%d.]+\n", output)
      end
      local whole, parts = reports "whole.log", reports "parts.log"
      assert.equal(105, #whole)
      assert.same(whole, parts)
      assert.truthy(lurn.load(directory .. "/whole/last.safetensors")["model.head.weight"]:equal(
        lurn.load(directory .. "/parts/last.safetensors")["model.head.weight"]))
    end)

    it("after Ctrl-C and SIGTERM as well", function()
      local words = tiny("cv", LOG:format(directory, "cut.log", 4000))
      -- A shell has the signal ignored in what it starts in the background; the program listens all the same.
      local status, output
      for cut = 1, 4 do
        output, status = shell(([[
          n=$(cat %s/cut.log 2>/dev/null | wc -l)
          %s %s >%s/out 2>&1 </dev/null & pid=$!
          for i in $(seq 6000); do
            [ $(cat %s/cut.log 2>/dev/null | wc -l) -gt $((n + %d)) ] && break
            sleep 0.02
          done
          kill -%s $pid; wait $pid; echo $?]]):format(directory, program,
          cut == 1 and words or go_on("cv", ("--json %s/cut.log"):format(directory)), directory, directory, 20 * cut,
          cut % 2 == 1 and "INT" or "TERM"))
        assert.equal(0, status)
        assert.equal("130\n", output, read(directory .. "/out"))
        assert.matches("interrupted at epoch [%d.]+; go on with\n  .* %-%-init_from .*cv/last.safetensors\n$",
          read(directory .. "/out"))
      end
      local losses = reports "cut.log"
      local last = 0
      for step in pairs(losses) do last = math.max(last, step) end
      assert.truthy(last > 200)
      run(tiny("whole", LOG:format(directory, "whole.log", last / 35)))
      local whole = reports "whole.log"
      assert.equal(last, #whole)
      for step, loss in pairs(whole) do assert.equal(loss, losses[step] or "no loss", "step " .. step) end
    end)

    it("needs nothing but the checkpoint, and takes what is given", function()
      run(tiny("cv", "--max_epochs 1 --model gru"))
      local output, status = run(go_on("cv", "--max_epochs 2 --learning_rate 0.001"))
      assert.equal(0, status, output)
      assert.matches("gru: 2 layers of 8", output)
      output, status = run(go_on("cv", "--model lstm"))
      assert.equal(1, status)
      assert.equal("char_lm: --model is gru in the checkpoint, not lstm\n", output)
      output, status = run(go_on("cv", "--max_epochs 2"))
      assert.equal(1, status)
      assert.matches("2 epochs are done already", output)
    end)

    it("on another text counts epochs anew", function()
      run(tiny("cv", "--max_epochs 1"))
      local other = write("other.txt", ("the dog sat on the cat. "):rep(60))
      local output, status = run(go_on("cv", other .. " --max_epochs 1"))
      assert.equal(0, status, output)
      assert.matches("epochs count from 0", output)
      output, status = run(go_on("cv", write("strange.txt", KOREAN:rep(50))))
      assert.equal(1, status)
      assert.matches('not in the vocabulary: "나" %(U%+B098%)', output)
    end)
  end)

  describe("sampling", function()
    local function sample(words)
      return run(("--sample --init_from %s/cv/best.safetensors %s"):format(directory, words))
    end

    it("goes on from Korean text", function()
      write("text.txt", KOREAN:rep(60))
      local output, status = run(tiny("cv", "--max_epochs 4 --sample_length 10 --primetext '우리는 '"))
      assert.equal(0, status, output)
      assert.matches("%-%-%-%-\n우리는 ", output)
      output, status = sample "--length 30 --primetext '나는 학교에 '"
      assert.equal(0, status, output)
      assert.equal("나는 학교에 ", output:sub(1, #"나는 학교에 "))
      assert.equal(utf8.len "나는 학교에 " + 30 + 1, utf8.len(output)) -- and the line's end
    end)

    it("repeats itself with a seed and obeys its options", function()
      run(tiny("cv", "--max_epochs 2"))
      local first = sample "--length 40"
      assert.equal(first, (sample "--length 40"))
      assert.not_equal(first, (sample "--length 40 --seed 5"))
      assert.equal((sample "--length 40 --temperature 0"), (sample "--length 40 --top_k 1"))
      for _, words in ipairs { "--top_k 3 --top_p 0.9", "--beam 4 --primetext the", "--length 0" } do
        local output, status = sample("--length 20 " .. words)
        assert.equal(0, status, output)
      end
    end)

    it("tells what is wrong", function()
      run(tiny("cv", "--max_epochs 0.2"))
      assert.equal('char_lm: --primetext: not in the vocabulary: "한" (U+D55C)\n', (sample "--primetext 한"))
      assert.equal("char_lm: --sample needs --init_from CHECKPOINT\n", (run "--sample"))
      local output, status = run "--sample --init_from /nowhere.safetensors"
      assert.equal(1, status)
      assert.matches("^char_lm: .*/nowhere%.safetensors: No such file", output)
      local other = directory .. "/other.safetensors"
      assert(lurn.save(other, { ["a.b"] = lurn.zeros(1) }))
      assert.equal("char_lm: " .. other .. ": not a checkpoint of char_lm\n", (run("--sample --init_from " .. other)))
      for message, metadata in pairs {
        ["no options %(not an object%)"] = { options = "null" },
        ["no options %(not JSON: .*%)"] = { options = "{" },
        ["vocabulary: no level or no tokens"] = { options = "{}", vocab = "null" },
        ["vocabulary: not JSON: .*"] = { options = "{}", vocab = "" },
      } do
        metadata.format = "lurn.char_lm"
        assert(lurn.save(other, {}, metadata))
        output, status = run("--init_from " .. other)
        assert.matches("^char_lm: .*/other%.safetensors: " .. message .. "\n$", output)
        assert.equal(1, status)
      end
    end)

    it("says so when the text cannot be written", function()
      run(tiny("cv", "--max_epochs 0.2"))
      local output, status = shell(("%s --sample --init_from %s/cv/best.safetensors --length 9 2>&1 >/dev/full"):format(
        program, directory))
      assert.equal("char_lm: cannot write the text: No space left on device\n", output)
      assert.equal(1, status)
    end)
  end)

  describe("when things go wrong", function()
    it("stops at a nan, says where it came from, and leaves the checkpoint alone", function()
      run(tiny("cv", "--max_epochs 1"))
      local before = read(directory .. "/cv/last.safetensors")
      local output, status = run(go_on("cv", "--max_epochs 2 --learning_rate 1e39 --grad_clip 0"))
      assert.equal(1, status)
      assert.matches("char_lm: step 37 %(epoch 2, batch 2%): the loss is nan; first to go: parameter embed%.weight " ..
        "%(%d+ of 76 numbers%), in the update of step 36%.\n", output)
      assert.matches("\nThe last good checkpoint is .*/cv/last%.safetensors%.", output)
      assert.equal(before, read(directory .. "/cv/last.safetensors"))
      assert.matches("all parameters are finite, the forward pass overflowed",
        (run(go_on("cv", "--max_epochs 2 --learning_rate 1e38"))))
    end)

    it("tells which option is wrong", function()
      for words, message in pairs {
        ["--rnn_size 0"] = "--rnn_size is '0'; expected a whole number from 1",
        ["--dropout x"] = "--dropout is 'x'; expected a number from 0 to 0.99",
        ["--model cnn"] = "argument for option '--model' must be one of 'rnn', 'gru', 'lstm'",
        ["--rnn_sizes 3"] = "unknown option '--rnn_sizes'",
      } do
        local output, status = run(words)
        assert.equal(2, status)
        assert.equal("char_lm: " .. message, output:match "^[^\n]*")
      end
    end)

    it("tells in one line that a size is absurd", function()
      for _, option in ipairs { "--rnn_size 1e9", "--rnn_size 4611686018427387904", "--embedding_size 1e15",
        "--rnn_size 100000 --num_layers 1000000" } do
        local output, status = shell(LIMIT .. program .. " " .. tiny("cv", option) .. " 2>&1 </dev/null")
        output = output:gsub("==%d+==WARNING: AddressSanitizer failed to allocate[^\n]*\n", "")
        assert.equal(1, status, option)
        assert.matches("^char_lm: the model or its batches are too large %([^\n]+%); make a size smaller[^\n]+\n$",
          output, option)
      end
      for _, option in ipairs { "--seq_length 4611686018427387904", "--batch_size 9223372036854775807" } do
        assert.matches("^char_lm: the text to learn from has 1406 chars; one batch needs %d[^\n]+\n$",
          run(tiny("cv", option)))
      end
    end)

    it("tells what is wrong with a text", function()
      local function message_of(text, more)
        write("text.txt", text)
        local output, status = run(tiny("cv", more))
        assert.equal(1, status)
        return output
      end
      assert.matches("^char_lm: .-/text%.txt: the file is empty\n$", message_of "")
      assert.matches("^char_lm: .-/text%.txt: not valid UTF%-8 at byte 4 ", message_of "caf\xe9")
      assert.equal("char_lm: the text to learn from has 5 chars; one batch needs 41 " ..
        "(seq_length 10 x batch_size 4 + 1)\n", message_of "short")
      assert.equal("char_lm: /nowhere: No such file or directory\n", (run "/nowhere"))
    end)

    it("tells before training that checkpoints cannot be saved", function()
      local output, status = run(tiny("text.txt/cv", "--max_epochs 1"))
      assert.equal(1, status)
      assert.matches("^char_lm: checkpoints cannot be saved: .*text%.txt", output)
    end)

    it("goes on when a checkpoint cannot be saved later, and says so", function()
      -- A directory stands where the file should go.
      shell(("mkdir -p %s/cv/last.safetensors/x"):format(directory))
      local output, status = run(tiny("cv", "--max_epochs 2"))
      assert.equal(1, status)
      assert.matches("cv/last%.safetensors was not saved: ", output)
      assert.matches("\ndone: 2%.00 epochs", output)
      assert.truthy(exists "cv/best.safetensors")
    end)

    it("keeps what it had when the disk is full, and learns on", function()
      assert.equal(0, select(2, run(tiny("cv", "--max_epochs 1 --rnn_size 4"))))
      local best, last = read(directory .. "/cv/best.safetensors"), read(directory .. "/cv/last.safetensors")
      -- Files may have at most one block of 512 or 1024 bytes.
      local output, status = shell(("trap '' XFSZ; ulimit -f 1; %s %s 2>&1"):format(program, tiny("cv",
        "--max_epochs 2 --rnn_size 64")))
      assert.equal(1, status)
      for _, name in ipairs { "best", "last" } do
        local path = ("%s/cv/%s.safetensors"):format(directory, name)
        local expected = ("\n%s was not saved: cannot write %s: File too large\n"):format(path, path)
        assert.truthy(output:find(expected, 1, true))
      end
      assert.matches("\ndone: 2%.00 epochs.*\nchar_lm: not all checkpoints could be saved\n$", output)
      assert.equal(best, read(directory .. "/cv/best.safetensors"))
      assert.equal(last, read(directory .. "/cv/last.safetensors"))
      assert.equal("best.safetensors\nlast.safetensors\n", (shell("ls -A " .. directory .. "/cv")))
    end)

    it("tells once that reports cannot be written, and learns on", function()
      local full = io.open "/dev/full"
      if not full then return pending "there is no /dev/full here" end
      full:close()
      local output, status = run(tiny("cv", "--max_epochs 2 --print_every 10 --json /dev/full"))
      assert.equal(1, status)
      assert.equal(1, select(2, output:gsub("/dev/full was not written: No space left on device\n", "")))
      assert.matches("\ndone: 2%.00 epochs.*\nchar_lm: not all reports could be written\n$", output)
    end)

    it("says what to install when there is no text", function()
      local lua = shell("command -v " .. quote((os.getenv "LURN" or "build/bin/lurn"))):gsub("%s+$", "")
      local output, status = shell(("PATH=/nowhere %s examples/char_lm.lua --checkpoint_dir %s/cv 2>&1"):format(lua,
        directory))
      assert.equal(1, status)
      assert.matches("apt%-get install bible%-kjv", output)
    end)
  end)

  it("explains itself", function()
    local output, status = run "--help"
    assert.equal(0, status)
    for _, word in ipairs { "rnn_size", "num_layers", "dropout", "seq_length", "batch_size", "learning_rate",
      "lr_decay", "lr_decay_every", "grad_clip", "max_epochs", "init_from", "seed", "checkpoint_dir", "checkpoint_name",
      "temperature", "primetext", "length", "sample", "model", "level", "top_k", "top_p", "embedding_size",
      "print_every", "eval_every", "sample_every", "num_threads" } do
      assert.truthy(output:find("--" .. word, 1, true), word)
    end
    assert.matches("Different from char%-rnn and torch%-rnn", output)
  end)
end)
