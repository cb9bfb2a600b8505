---@meta lurn.core
--- What the C half defines, for editors and for the reference.  Ops are described by the registry (lurn.op_list()) and
--- are not repeated here.

---@alias lurn.dtype "float32"|"float64"|"int64"|"int32"|"uint8"|"bool"
---@class lurn.CreateOptions
---@field dtype lurn.dtype? default "float32"
---@field requires_grad boolean? default false

local core = {}
---@class lurn.Tensor
local methods = {} -- luacheck: ignore methods

-- ---- Making tensors ---------------------------------------------------------------------------

--- A tensor from a number, a boolean, or nested tables of them; the tables must not be ragged.
---@param value number|boolean|table
---@param options lurn.CreateOptions?
---@return lurn.Tensor
function core.tensor(value, options) end

--- All 0.  A shape is sizes one by one or one table: zeros(3, 4), zeros({3, 4}); zeros() has no dimensions.
---@param ... integer|integer[]|lurn.CreateOptions
---@return lurn.Tensor
function core.zeros(...) end

--- All 1.
---@param ... integer|integer[]|lurn.CreateOptions
---@return lurn.Tensor
function core.ones(...) end

--- Contents undefined: to be filled.
---@param ... integer|integer[]|lurn.CreateOptions
---@return lurn.Tensor
function core.empty(...) end

--- All equal to value.
---@param shape integer[]
---@param value number|boolean
---@param options lurn.CreateOptions?
---@return lurn.Tensor
function core.full(shape, value, options) end

--- arange(last), arange(first, last [, step]): last is included, as in Lua's for.  int64 when all are integers, else
--- float32.
---@param first number
---@param last number?
---@param step number? default 1
---@param options lurn.CreateOptions?
---@return lurn.Tensor
function core.arange(first, last, step, options) end

--- n numbers evenly spaced from first to last, both included.
---@param first number
---@param last number
---@param n integer
---@param options lurn.CreateOptions?
---@return lurn.Tensor
function core.linspace(first, last, n, options) end

--- 1 on the diagonal, else 0; n x m, or n x n.
---@param n integer
---@param m integer?
---@param options lurn.CreateOptions?
---@return lurn.Tensor
function core.eye(n, m, options) end

--- All 0, with the shape of t and, but for options, its dtype.
---@param t lurn.Tensor
---@param options lurn.CreateOptions?
---@return lurn.Tensor
function core.zeros_like(t, options) end

--- All 1, as zeros_like.
---@param t lurn.Tensor
---@param options lurn.CreateOptions?
---@return lurn.Tensor
function core.ones_like(t, options) end

--- Contents undefined, as zeros_like.
---@param t lurn.Tensor
---@param options lurn.CreateOptions?
---@return lurn.Tensor
function core.empty_like(t, options) end

--- Uniform on [0, 1), as zeros_like.
---@param t lurn.Tensor
---@param options lurn.CreateOptions?
---@return lurn.Tensor
function core.rand_like(t, options) end

--- Normal with mean 0 and deviation 1, as zeros_like.
---@param t lurn.Tensor
---@param options lurn.CreateOptions?
---@return lurn.Tensor
function core.randn_like(t, options) end

--- The inverse of x:tobytes(): little-endian elements in row-major order; without a shape, one dimension.
---@param bytes string
---@param dtype lurn.dtype
---@param shape integer[]?
---@return lurn.Tensor
function core.frombytes(bytes, dtype, shape) end

-- ---- Random numbers ---------------------------------------------------------------------------

--- Uniform on [0, 1).
---@param ... integer|integer[]|lurn.CreateOptions
---@return lurn.Tensor
function core.rand(...) end

--- Normal, mean 0, standard deviation 1.
---@param ... integer|integer[]|lurn.CreateOptions
---@return lurn.Tensor
function core.randn(...) end

--- Whole numbers of low..high, both included; int64.
---@param low integer
---@param high integer
---@param ... integer|integer[] shape
---@return lurn.Tensor
function core.randint(low, high, ...) end

--- 1..n in random order; int64.
---@param n integer
---@return lurn.Tensor
function core.randperm(n) end

--- Starts the stream of random numbers anew.  The same seed gives the same numbers whatever the number of threads.
---@param seed integer
function core.manual_seed(seed) end

--- The place in the stream: two integers for set_rng_state.
---@return integer seed
---@return integer block
function core.rng_state() end

--- Goes on at a place that rng_state gave.
---@param seed integer
---@param block integer
function core.set_rng_state(seed, block) end

--- Fills with uniform numbers of [low, high), in place.
---@param low number? default 0
---@param high number? default 1
---@return lurn.Tensor self
function methods:uniform_(low, high) end

--- Fills with normal numbers, in place.
---@param mean number? default 0
---@param std number? default 1
---@return lurn.Tensor self
function methods:normal_(mean, std) end

--- Fills with 1 (with probability p) and 0, in place; any dtype.
---@param p number? default 0.5
---@return lurn.Tensor self
function methods:bernoulli_(p) end

-- ---- Elements ---------------------------------------------------------------------------------

--- The element at a position given for each dimension; negative ones count from the end.
---@param ... integer
---@return number|boolean
function methods:get(...) end

--- Sets one element: x:set(value, i, j).
---@param value number|boolean
---@param ... integer
---@return lurn.Tensor self
function methods:set(value, ...) end

--- The only element of a tensor that has one.
---@return number|boolean
function methods:item() end

--- The elements as nested tables.
---@return table|number|boolean
function methods:totable() end

--- The elements as bytes, row-major; see lurn.frombytes.
---@return string
function methods:tobytes() end

--- The number of elements.
---@return integer
function methods:numel() end

--- Whether the elements lie in row-major order without gaps.
---@return boolean
function methods:is_contiguous() end

--- Whether both are views of the very same elements.
---@param other lurn.Tensor
---@return boolean
function methods:same_as(other) end

--- Gives the memory back now, not when the collector comes by.  The tensor cannot be used afterwards.
function methods:free() end

--- Whether a value is a tensor.
---@param value any
---@return boolean
function core.is_tensor(value) end

--- Whether t:free() was called.
---@param t any
---@return boolean
function core.is_freed(t) end

--- The sum of products that an equation describes: einsum("tnd,hd->tnh", a, b) multiplies a[t][n][d] b[h][d] and sums
--- over what the output leaves out.  Letters name dimensions, one twice in a term is a diagonal, "..." stands for any
--- others, which broadcast; without "->" the output is "..." and the letters that come once, in the order of the
--- alphabet.  Of more than two operands the first two are multiplied first, then the next.
---@param equation string
---@param ... lurn.Tensor|lurn.Tensor[]
---@return lurn.Tensor
function core.einsum(equation, ...) end

-- ---- Gradients --------------------------------------------------------------------------------

--- Adds d self / d leaf to the .grad of every leaf that requires it.  Without a gradient, self has one element.
---@param gradient lurn.Tensor?
---@param options {retain_graph: boolean?}?
function methods:backward(gradient, options) end

--- Has a result keep its gradient in .grad, as leaves do: every backward, and every lurn.grad that passes through it,
--- adds the complete gradient, after all hooks.  An op in place leaves it the gradient of the new value.  For leaves
--- there is nothing to do.
---@return lurn.Tensor self
function methods:retain_grad() end

---@class lurn.Hook what register_hook gives; a <close> variable of it removes the hook where it ends
local Hook = {} -- luacheck: ignore Hook

--- The hook is not called again.
function Hook:remove() end

--- Calls fn(gradient) in every backward, and every lurn.grad, in which a gradient comes to the tensor: once, with all
--- of it.  A tensor that fn returns takes its place on the way on, into .grad and into the results of lurn.grad; the
--- given one must not be changed in place.  Hooks of a tensor run in the order in which they were registered, without
--- recording; those of leaves at the end.  A hook belongs to a leaf, or to the value that the tensor has now: it runs
--- also when the tensor itself is gone, and an op in place leaves it with the former value.  An error in fn is that of
--- the backward, which then changes no .grad; fn cannot yield.
---
--- fn and what it leads to live with the leaf or the graph: until a backward consumes that, or it is dropped.  Where fn
--- leads back to tensors of this graph, that is a cycle that collectgarbage alone does not find; lurn looks for these
--- whenever twice as many hooks live as were left the last time (and at least 64), or twice the memory, and in
--- lurn.collect.  remove and free end them at once.
---@param fn fun(gradient: lurn.Tensor): lurn.Tensor?
---@return lurn.Hook
function methods:register_hook(fn) end

--- The same elements outside the graph; shares memory.
---@return lurn.Tensor
function methods:detach() end

--- Sets requires_grad and returns the tensor.
---@param value boolean? default true
---@return lurn.Tensor self
function methods:requires_grad_(value) end

--- Gradients of outputs with respect to inputs, one result each (nil where there is no dependence).  No .grad of a leaf
--- changes.  Hooks of inputs and of what lies between have run.
---@param outputs lurn.Tensor|lurn.Tensor[]
---@param inputs lurn.Tensor|lurn.Tensor[]
---@param options {grad_outputs: lurn.Tensor[]?, retain_graph: boolean?}?
---@return lurn.Tensor? ...
function core.grad(outputs, inputs, options) end

--- A full collection, collectgarbage(), that also finds hooks whose functions lead back to the tensors that they are
--- hooks of, where nothing else does; see register_hook.
function core.collect() end

--- Compares backward with central differences for float64 leaves that require gradients.
---@param fn fun(...: lurn.Tensor): lurn.Tensor gives one number
---@param inputs lurn.Tensor[]
---@param options {eps: number?, rtol: number?, atol: number?}? default 1e-6, 1e-3, 1e-5
---@return true? ok
---@return string? message what differs most
function core.gradcheck(fn, inputs, options) end

--- Switches recording on or off and returns the former setting; no_grad and enable_grad restore it by themselves.
---@param flag boolean
---@return boolean
function core.set_grad_enabled(flag) end

--- Whether ops are being recorded.
---@return boolean
function core.grad_enabled() end

--- An empty recording, to be passed to lurn.rnn, lurn.lstm or lurn.gru.
---@return lurn.Record
function core.record() end

---@class lurn.Record
---@field gates lurn.Tensor? after their nonlinearity: LSTM (T, N, 4H) i f g o, GRU (T, N, 3H) r z n, RNN (T, N, H)
---@field cell lurn.Tensor? LSTM: c_t (T, N, H)
---@field hidden lurn.Tensor? h_t (T, N, H)
---@field grad_hidden lurn.Tensor? after backward: the total gradient of h_t
---@field grad_cell lurn.Tensor? after backward: the total gradient of c_t

-- ---- Files ------------------------------------------------------------------------------------

--- Writes safetensors, whole or not at all: names in alphabetical order, metadata are strings.  A file that was there
--- is replaced when the new one is on the disk, and keeps its permissions; where path is a symbolic link, the file it
--- leads to is.  The disk needs room for both.  A process killed meanwhile leaves a file .lurn-*.tmp behind.
---@param path string
---@param tensors table<string, lurn.Tensor>
---@param metadata table<string, string>?
---@return true? ok
---@return string? message when the system says no
function core.save(path, tensors, metadata) end

--- Reads safetensors.  F16 and BF16 become float32.
---@param path string
---@return table<string, lurn.Tensor>? tensors
---@return table<string, string>|string metadata or the message when the file is missing or not sound
function core.load(path) end

--- Reads the same from a string that holds what a safetensors file would: a model that came over a network, or out
--- of an archive of the program's own.
---@param bytes string
---@param name? string stands for the path in messages; default "string"
---@return table<string, lurn.Tensor>? tensors nil when the bytes are not sound
---@return table<string, string>|string metadata or the message
function core.load_string(bytes, name) end

--- What a safetensors file holds, without reading the tensors: {tensors = {{name, dtype, shape}...}, metadata = {...}}.
---@param path string
---@return table?
---@return string? message
function core.archive_info(path) end

-- ---- Settings ---------------------------------------------------------------------------------

--- Threads that tensors are computed with.  Results do not depend on it.
---@param n integer 1..256
function core.set_num_threads(n) end

---@return integer
function core.get_num_threads() end

--- Bytes in use by tensors and graph, bytes taken from the system, how often the system was asked for more, and the
--- most bytes that were in use at once.
---@return integer live
---@return integer held
---@return integer allocations
---@return integer peak
function core.memory() end

--- Lets the peak that memory() tells begin anew, at what is in use now.
function core.memory_reset_peak() end

--- Gives cached memory back to the system, and what malloc keeps of memory that Lua or the engine has freed.
function core.memory_trim() end

--- Seconds on a clock that only moves forward, for measuring.
---@return number
function core.clock() end

--- What `lurn info` prints, as a table.
---@return table
function core.config() end

--- Every op as {name, doc, inplace, differentiable, params = {{name, kind, required, preset, choices}...}}.
---@return table[]
function core.op_list() end

return core
