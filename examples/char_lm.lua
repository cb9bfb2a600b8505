-- A language model that learns to write like the text it reads, one character (or byte, or word) at a time.
--
--   lurn examples/char_lm.lua shakespeare.txt                    learn; checkpoints go to cv/
--   lurn examples/char_lm.lua --init_from cv/last.safetensors    go on
--   lurn examples/char_lm.lua --sample --init_from cv/best.safetensors --primetext "To be" --length 500
--
-- After Karpathy's char-rnn and Johnson's torch-rnn, whose options it understands; see --help.

local lurn = require "lurn"
local train = require "lurn.train"
local json = require "lurn.data.json"
local nn, data, clock = lurn.nn, lurn.data, train.clock

-- ---- Model ----------------------------------------------------------------------------------------------------

local LAYERS = { rnn = nn.RNN, gru = nn.GRU, lstm = nn.LSTM }

local CharLM = nn.Module:extend "CharLM"

function CharLM:init(vocab_size, o)
  self.embed = nn.Embedding(vocab_size, o.embedding_size)
  self.rnn = LAYERS[o.model](o.embedding_size, o.rnn_size, { num_layers = o.num_layers,
    dropout = o.num_layers > 1 and o.dropout or 0 })
  self.dropout = nn.Dropout(o.dropout)
  self.head = nn.Linear(o.rnn_size, vocab_size)
end

function CharLM:forward(ids, state) -- (T, N)
  local y, after = self.rnn(self.embed(ids), state) -- (T, N, rnn_size)
  return self.head(self.dropout(y)), after -- (T, N, vocab_size)
end

-- ---- Options --------------------------------------------------------------------------------------------------

-- About these a checkpoint has decided.
local MODEL = { "Model", options = {
  { "model", "lstm", "kind of recurrent layer", choices = { "rnn", "gru", "lstm" }, also = { "model_type" } },
  { "rnn_size", 128, "units in each layer", min = 1, also = { "hidden_size" } },
  { "num_layers", 2, "layers", min = 1 },
  { "embedding_size", 64, "numbers that stand for one token", min = 1, also = { "wordvec_size" } },
  { "dropout", 0.0, "share of the units left out, after each layer", min = 0, max = 0.99 },
  { "level", "utf8", "what a token is", choices = { "bytes", "utf8", "word" } },
} }

local LINE = {
  name = "char_lm.lua",
  description = "Trains a recurrent language model on text, and writes with it.",
  files = "text to learn from; by default the King James Bible of Debian's package bible-kjv",
  epilog = table.concat({
    "Different from char-rnn and torch-rnn: text is read as it is, without preprocessing; characters are code " ..
    "points of UTF-8; the optimizer is Adam, and gradients are clipped on their joint norm, not one by one; a " ..
    "temperature of 0 takes the place of sample=0; there is no gpuid.",
    "Options may be spelled with _ or -, with one or two dashes. A value that begins with a dash needs the form " ..
    "--primetext='- so'.",
    "--init_from takes over the checkpoint's options, unless they are given too, and goes on with the next batch as " ..
    "if the run had never stopped.",
    "The exit status is 0, 1 after a failure, 2 for a wrong option, 130 after Ctrl-C or SIGTERM, which save the run.",
  }, "\n\n"),
  groups = {
    { "Data", options = {
      { "input", nil, "another file of text (-i)", kind = "string", short = "i", argname = "FILE" },
      { "data_dir", nil, "a directory whose input.txt is read", kind = "string", argname = "DIR" },
      { "val_frac", 0.05, "share of the text, before test_frac's, to validate", min = 0, max = 0.9 },
      { "test_frac", 0.0, "share at its end that is not touched", min = 0, max = 0.9 },
    } },
    MODEL,
    { "Training", options = {
      { "seq_length", 50, "steps that a gradient goes back", min = 1 },
      { "batch_size", 50, "sequences side by side", min = 1 },
      { "max_epochs", 50.0, "passes through the text, may be a fraction", min = 0, max = 1e9 },
      { "max_minutes", 0.0, "stop after this time; 0: no limit", min = 0 },
      { "learning_rate", 2e-3, "Adam's", min = 0 },
      { "lr_decay", 0.5, "factor of the learning rate", min = 0, also = { "lr_decay_factor", "learning_rate_decay" } },
      { "lr_decay_every", 5, "epochs between two such changes", min = 1 },
      { "grad_clip", 5.0, "largest norm of all gradients together; 0: no limit", min = 0 },
      { "init_from", nil, "checkpoint to go on from, or to sample from", kind = "string", argname = "FILE" },
      { "seed", 123, "of the random numbers" },
      { "num_threads", 0, "threads; 0: one per core", min = 0, max = 256 },
    } },
    { "Reports and checkpoints", options = {
      { "print_every", 100, "batches between two lines, off a terminal; 0: none", min = 0 },
      { "eval_every", 0, "batches between two validations; 0: after each epoch", min = 0,
        also = { "eval_val_every" } },
      { "sample_every", 0, "batches between two samples; 0: with each validation", min = 0 },
      { "sample_length", 200, "tokens in each sample while training; 0: none", min = 0 },
      { "checkpoint_dir", "cv", "where best.safetensors and last.safetensors go", argname = "DIR" },
      { "checkpoint_name", "", "put before their names", also = { "savefile" }, argname = "NAME" },
      { "checkpoint_every", 1000, "batches between two savings beside each validation's; 0: none", min = 0 },
      { "json", nil, "file that gets one line of JSON per report", kind = "string", argname = "FILE" },
    } },
    { "Sampling", options = {
      { "sample", false, "write with the checkpoint of --init_from instead of training" },
      { "primetext", "", "text to go on from", also = { "start_text" } },
      { "length", 2000, "tokens to write", min = 0 },
      { "temperature", 1.0, "above 1 bolder, below 1 more careful, 0 always the likeliest", min = 0 },
      { "top_k", 0, "choose among this many likeliest tokens; 0: among all", min = 0 },
      { "top_p", 1.0, "choose among the likeliest that make up this share", min = 0, max = 1 },
      { "beam", 0, "write the likeliest text that a beam search of this width finds; 0: draw", min = 0, max = 10000 },
    } },
  },
}

-- ---- Failing --------------------------------------------------------------------------------------------------

local function stop(message, ...)
  io.stdout:flush()
  io.stderr:write("char_lm: ", message:format(...), "\n")
  os.exit(1, true)
end

-- ---- Text -----------------------------------------------------------------------------------------------------

local UNITS = { bytes = "byte", utf8 = "char", word = "word" }

local BIBLE = "bible -f gen1:1-rev22:21"

local function king_james()
  local pipe = io.popen(BIBLE .. " 2>/dev/null")
  local text = pipe and pipe:read "a" or ""
  if pipe then pipe:close() end
  if text == "" then
    stop("the program `bible`, which gives the text to learn from when none is named, is not here.\n" ..
      "Install it (Debian: apt-get install bible-kjv) or name a file of text.")
  end
  return text
end

-- The files to learn from; an empty list stands for the King James Bible.
local function files_of(given)
  local files = table.move(given.files, 1, #given.files, 1, {})
  if given.input then files[#files + 1] = given.input end
  if given.data_dir then files[#files + 1] = given.data_dir .. "/input.txt" end
  return files
end

local function read_corpus(files, o, vocab)
  local options = { level = o.level, vocab = vocab, split = { 1 - o.val_frac - o.test_frac, o.val_frac, o.test_frac } }
  if o.val_frac + o.test_frac >= 1 then stop("--val_frac and --test_frac leave nothing to learn from") end
  if files[1] then options.paths = files else options.text = king_james() end
  local corpus, message = data.text(options)
  if not corpus then stop("%s", (message:gsub('level = "(%l+)"', "--level %1"))) end
  return corpus
end

-- ---- Sampling -------------------------------------------------------------------------------------------------

-- The ids to begin with: those of the prime text, else the end of a line, else any.
local function prompt_of(vocab, text)
  if text ~= "" then return vocab:encode(text) end
  return { vocab.ids["\n"] or 1 }
end

local function sample_options(model, vocab, o, more)
  local options = { model = model, prompt = more.prompt, length = more.length, temperature = o.temperature,
    seed = more.seed, on_token = more.on_token, exclude = vocab.unk and { vocab.unk } or nil }
  if o.top_k > 0 then options.top_k = o.top_k end
  if o.top_p > 0 and o.top_p < 1 then options.top_p = o.top_p end
  if o.beam > 0 then options.beam = o.beam end
  return options
end

-- Writes a text of o.length tokens as it comes into being.
local function write_text(model, vocab, o)
  local prompt, message = prompt_of(vocab, o.primetext)
  if not prompt then stop("--primetext: %s", message) end
  local function put(text)
    local ok, why = io.stdout:write(text)
    if ok then ok, why = io.stdout:flush() end
    if not ok then stop("cannot write the text: %s", why) end
  end
  local function write(id) put(vocab.tokens[id]) end
  put(o.primetext)
  local ids = lurn.sample(sample_options(model, vocab, o, { prompt = prompt, length = o.length, seed = o.seed,
    on_token = o.beam == 0 and write or nil }))
  put((o.beam > 0 and vocab:decode(ids) or "") .. "\n")
end

-- ---- Checkpoints ----------------------------------------------------------------------------------------------

-- Options that are about one call of the program; all others go into the checkpoint, with the names of the files.
local OF_ONE_CALL = { input = true, data_dir = true, init_from = true, max_minutes = true, num_threads = true,
  json = true }

local function options_to_save(o, files)
  local saved = { files = files }
  for _, group in ipairs(LINE.groups) do
    for _, option in ipairs(group.options) do
      local name = option[1]
      if group[1] ~= "Sampling" and not OF_ONE_CALL[name] then saved[name] = o[name] end
    end
  end
  return saved
end

---@class Checkpoint
---@field sections table<string, table<string, lurn.Tensor>>
---@field options table<string, any>
---@field files string[]
---@field vocab lurn.Vocab
---@field progress string

---@return Checkpoint
local function load_checkpoint(path)
  local sections, metadata = train.checkpoint.load(path)
  if not sections then stop("%s", metadata) end
  if metadata.format ~= "lurn.char_lm" then stop("%s: not a checkpoint of char_lm", path) end
  local saved, message = json.decode(metadata.options or "")
  if type(saved) ~= "table" then stop("%s: no options (%s)", path, message or "not an object") end
  local vocab
  vocab, message = data.Vocab.parse(metadata.vocab or "")
  if not vocab then stop("%s: %s", path, message) end
  local files = {}
  for i, file in ipairs(type(saved.files) == "table" and saved.files or {}) do files[i] = tostring(file) end
  return { sections = sections, options = saved, files = files, vocab = vocab, progress = metadata.progress }
end

-- The model cannot be changed by options any more.
local function check_same_model(given, saved)
  for _, option in ipairs(MODEL.options) do
    local name = option[1]
    if name ~= "dropout" and given[name] ~= nil and given[name] ~= saved[name] then
      stop("--%s is %s in the checkpoint, not %s", name, saved[name], given[name])
    end
  end
end

-- ---- Main -----------------------------------------------------------------------------------------------------

-- How this program was called, to tell what to call next.
local function command()
  local first = 0
  while arg[first - 1] do first = first - 1 end
  return first < 0 and arg[first] .. " " .. arg[0] or arg[0]
end

local function write_with(o, saved)
  if not saved then stop "--sample needs --init_from CHECKPOINT" end
  local model = CharLM(saved.vocab.size, o)
  local ok, message = pcall(model.load_state_dict, model, saved.sections.model or {})
  if not ok then stop("%s: %s", o.init_from, message) end
  write_text(model, saved.vocab, o)
end

-- Appends the run's reports to a file, each a line of JSON. What the disk refuses is told once, and the run goes on.
local function log_reports(trainer, path)
  local file, message = io.open(path, "a")
  if not file then stop("--json: %s", message) end
  trainer.on_report = function(fields)
    local ok, why = file:write(json.encode(fields), "\n")
    if ok then ok, why = file:flush() end
    if ok or trainer.log_failed then return end
    trainer.log_failed = true
    trainer.progress:say(("%s was not written: %s"):format(path, why))
  end
end

local function show_sample(trainer, o, vocab)
  local prompt = assert(prompt_of(vocab, o.primetext))
  local ids = lurn.sample(sample_options(trainer.model, vocab, o, { prompt = prompt, length = o.sample_length,
    seed = o.seed + trainer.now.step }))
  trainer.progress:say(("---- sample, temperature %g ----\n%s%s\n----"):format(o.temperature, o.primetext,
    vocab:decode(ids)))
end

local function check_prompt(vocab, text)
  local prompt, message = prompt_of(vocab, text)
  if not prompt then stop("--primetext: %s", message) end
end

-- DIR/ or DIR/NAME-; a name may bring a directory of its own, as in torch-rnn.
local function prefix_of(o)
  local directory, name = o.checkpoint_dir, o.checkpoint_name
  if name:find "/" then directory, name = name:match "^(.*)/(.-)$" end
  local ok, message = train.checkpoint.prepare(directory)
  if not ok then stop("checkpoints cannot be saved: %s", message) end
  return directory .. "/" .. (name ~= "" and name .. "-" or "")
end

local function make_trainer(o, files, saved)
  local corpus = read_corpus(files, o, saved and saved.vocab)
  local model = CharLM(corpus.vocab.size, o)
  check_prompt(corpus.vocab, o.primetext)
  local trainer, message = train.trainer {
    model = model, corpus = corpus, options = o, unit = UNITS[o.level], prefix = prefix_of(o),
    optimizer = lurn.optim.Adam(model:parameters(), { lr = o.learning_rate }),
    metadata = { format = "lurn.char_lm", vocab = corpus.vocab:serialize(), options = options_to_save(o, files) },
    on_sample = o.sample_length > 0 and function(self) show_sample(self, o, corpus.vocab) end or nil,
  }
  if not trainer then stop("%s", message) end
  if o.json then log_reports(trainer, o.json) end
  return trainer
end

local function restore(trainer, o, saved)
  local same, message = trainer:restore(saved.sections, saved.progress)
  if same == nil then stop("%s: %s", o.init_from, message) end
  if same then
    print(("going on from %s at epoch %.2f"):format(o.init_from, trainer:epochs()))
    if trainer.now.step >= trainer.last_step then
      stop("%g epochs are done already; --max_epochs says how far to go", o.max_epochs)
    end
  else
    print(("going on with the weights of %s; text or batches differ, so epochs count from 0"):format(o.init_from))
  end
end

local function introduce(trainer, o, files)
  local corpus, count = trainer.corpus, 0
  for _, p in ipairs(trainer.model:parameters()) do count = count + p:numel() end
  print(("%s: %d layers of %d, embedding %d, %d parameters"):format(o.model, o.num_layers, o.rnn_size,
    o.embedding_size, count))
  print("text: " .. (files[1] and table.concat(files, ", ") or "the King James Bible"))
  print(("%d %ss, %d different; %d to learn from, %d for validation"):format(#corpus, trainer.unit,
    corpus.vocab.size, #corpus.train, #corpus.valid))
  local threads = lurn.get_num_threads()
  print(("%d batches of %d x %d an epoch; %d thread%s"):format(trainer.per_epoch, o.batch_size, o.seq_length, threads,
    threads == 1 and "" or "s"))
end

local function say_what_next(trainer)
  print(([[
try next:
  %s --sample --init_from %s --temperature 0.5 --length 500
  %s --init_from %s --max_epochs %d    # go on learning
  %s your.txt    # any text in UTF-8; --help tells more]]):format(command(), trainer:path "best", command(),
    trainer:path "last", 2 * math.ceil(trainer:epochs()), command()))
end

local function conclude(trainer, o)
  if o.sample_length > 0 then show_sample(trainer, o, trainer.corpus.vocab) end
  if not next(trainer.unsaved) then say_what_next(trainer) end
  local valid, unit = trainer.now.valid, trainer.unit
  print(("done: %.2f epochs in %s, %s%.0f %ss/s"):format(trainer:epochs(), clock.format(trainer.time:elapsed()),
    valid and ("valid loss %.4f nats/%s, "):format(valid, unit) or "", trainer:rate(), unit))
  if next(trainer.unsaved) then stop "not all checkpoints could be saved" end
  if trainer.log_failed then stop "not all reports could be written" end
end

local function learn(o, files, saved)
  lurn.manual_seed(o.seed)
  local trainer = make_trainer(o, files, saved)
  if trainer.last_step < 1 then stop "--max_epochs leaves nothing to do" end
  introduce(trainer, o, files)
  if saved then restore(trainer, o, saved) end
  local how, message = trainer:run()
  if how == "done" then return conclude(trainer, o) end
  if how == nil then stop("%s", message) end
  if trainer.now.step > 0 and not trainer.unsaved.last then
    print(("interrupted at epoch %.2f; go on with\n  %s --init_from %s"):format(trainer:epochs(), command(),
      trainer:path "last"))
  end
  os.exit(130, true)
end

local function main()
  local given, message = train.options.parse(LINE, arg)
  if not given then
    io.stderr:write("char_lm: ", message, "\n(--help lists the options)\n")
    os.exit(2, true)
  end
  local saved = given.init_from and load_checkpoint(given.init_from)
  if saved then check_same_model(given, saved.options) end
  local o
  o, message = train.options.resolve(LINE, given, saved and saved.options)
  if not o then stop("%s: %s", given.init_from, message) end
  if o.num_threads > 0 then lurn.set_num_threads(o.num_threads) end
  if o.sample then return write_with(o, saved) end
  local files = files_of(given)
  if not files[1] and saved then files = saved.files end
  learn(o, files, saved)
end

local function add_traceback(message)
  return train.is_out_of_memory(message) and message or debug.traceback(message, 2)
end

local ok, message = xpcall(main, add_traceback)
if not ok and train.is_interrupt(message) then os.exit(130, true) end
if not ok and train.is_out_of_memory(message) then
  stop("the model or its batches are too large (%s); make a size smaller, such as --rnn_size or --batch_size",
    (message:gsub("^%S+:%d+: ", "")))
end
if not ok then stop("%s", message) end
