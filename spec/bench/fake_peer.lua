-- A contestant for spec/bench_spec.lua that does as its first argument says; see there.

local manner = ...

local answers = { info = "ok\tversion=1.0\tdetail=made up", check = "ok\tvalues=1 2 3", memory =
  "ok\tbase_kib=1000\tpeak_kib=3048", time = "ok\tseconds=0.002\tcalls=10" }

if manner == "slow" then answers.time = "ok\tseconds=0.004\tcalls=5\tsetting=careful" end
if manner == "wrong" then answers.check = "ok\tvalues=1 2 4" end
if manner == "short" then answers.check = "ok\tvalues=1 2" end
if manner == "nan" then answers.check = "ok\tvalues=1 nan 3" end
if manner == "timeless" then answers.time = "ok\tcalls=5" end
if manner == "error" then answers.time = "error\tout of luck" end
if manner == "skip" then answers.check, answers.time = "skip\tnot mine", "skip\tnot mine" end
if manner == "babble" then answers.time = "Segmentation fault, just kidding" end
if manner == "once" then print "ok\tpeak_kib=2048" os.exit(0, true) end

for line in io.lines() do
  local verb = line:match "^[^\t]*"
  if manner == "crash" and verb == "time" then
    io.stderr:write "something\nthe last words\n\n"
    os.exit(7, true)
  end
  print(answers[verb] or "error\tno such verb")
  io.flush()
end
