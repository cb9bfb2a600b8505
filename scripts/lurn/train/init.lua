-- lurn.train: what programs that train have in common.

local train = {}

---Sections of named tensors in one file: save, load, prepare.
train.checkpoint = require "lurn.train.checkpoint"

---Wall-clock time: now, format, stopwatch.
train.clock = require "lurn.train.clock"

---Which parameter or gradient of a model is nan or infinite: find_nonfinite(model).
train.find_nonfinite = require "lurn.train.nonfinite"

---Whether an error message is that of Ctrl-C or SIGTERM: is_interrupt(message).
train.is_interrupt = require "lurn.train.interrupt"

---Whether an error message tells of lack of memory: is_out_of_memory(message).
train.is_out_of_memory = require "lurn.train.out_of_memory"

---Command lines: parse, resolve.
train.options = require "lurn.train.options"

---The line that tells where a run stands: progress{every = n}.
train.progress = require("lurn.train.progress").new

---A run on a corpus with validation, checkpoints and samples: trainer{model = ..., ...}:run().
train.trainer = require("lurn.train.trainer").new

return train
