-- Holds at all levels, or at none.
-- id, now, time to live (ms), output cap, rate tokens, forced (replay: nothing is checked), number of levels, then for each
--   key, requests a minute, tokens a minute, concurrent ('' = none), number of budgets, then for each
--     unit, name, limit, input, each (price of a token of the cap), needed at least,
--     'r', bucket length, span  |  'w', number of windows, start, end, …
local id, now, ttl, cap, rate_tokens, forced = arg(), clock(arg()), num(), num(), num(), arg() == '1'
if emptied() then
  return { 'emptied' }
end
local hold_key = base .. ':h:' .. id
local before = redis.call('HMGET', hold_key, 'cap', 'p')
if before[1] then
  return { 'held', before[1], text(now), cmsgpack.unpack(before[2]) }
end
if forced and redis.call('EXISTS', base .. ':e:' .. id) == 1 then
  return { 'ended' }
end

local function read_budget()
  local b = { unit = arg(), name = arg(), limit = num(), input = num(), each = num(), needed = num() }
  if arg() == 'r' then
    b.length, b.span = num(), num()
    return b
  end
  b.windows = {}
  for i = 1, num() do
    b.windows[i] = { arg(), arg() }
  end
  return b
end

local levels, strangers, denied, clock_off = {}, {}, nil, false
for i = 1, num() do
  local level = { name = arg(), requests = num(), tokens = num(), concurrent = num(), budgets = {} }
  for j = 1, num() do
    level.budgets[j] = read_budget()
  end
  level.h, level.flat = known(level.name)
  levels[i] = level
  if not level.h.m then
    strangers[#strangers + 1] = level.name
  end
  if level.h.d and not denied then
    denied = level
  end
end
if #strangers > 0 then
  return { 'strangers', strangers }
end
if denied and not forced then
  return { 'denied', denied.name, denied.h.d }
end

-- The window that now lies in, as the start of a field's name.
local function window(b)
  if b.length then
    local start = now - math.fmod(now, b.length)
    b.ending = start + b.length + b.span
    return text(start) .. ':' .. text(b.ending)
  end
  for _, w in ipairs(b.windows) do
    b.ending = tonumber(w[2])
    if forced or (tonumber(w[1]) <= now and now < b.ending) then
      return w[1] .. ':' .. w[2]
    end
  end
end
for _, level in ipairs(levels) do
  for _, b in ipairs(level.budgets) do
    local found = window(b)
    if not found then
      return { 'clock', text(now) }
    end
    b.field = b.unit .. ':' .. found .. ':' .. b.name
  end
end

-- Committed and held: of the window, or of all buckets of a rolling budget that still count.
local function count(h, b)
  if not b.length then
    return number(h['c:' .. b.field]), number(h['h:' .. b.field])
  end
  local sums = { c = 0, h = 0 }
  for f, value in pairs(h) do
    if f:sub(2, 2) == ':' then
      local unit, start, ending, name = parse(f:sub(3))
      start, ending = tonumber(start), tonumber(ending)
      if unit == b.unit and name == b.name and start <= now and now < ending and ending - start == b.length + b.span then
        local kind = f:sub(1, 1)
        sums[kind] = plus(sums[kind], number(value))
      end
    end
  end
  return sums.c, sums.h
end

-- Rate::check
local function passes(drained, amount, limit, burst)
  local from = math.max(number(drained), now * 1000)
  return amount <= limit and from + drain(amount, limit) - now * 1000 <= burst
end

local function fits(level)
  local h, requests, tokens = level.h, level.requests, level.tokens
  if requests and not passes(h.q, 1, requests, div_up(MINUTE, math.max(requests, 1)) * requests) then
    return false
  end
  if tokens and not passes(h.t, rate_tokens, tokens, MINUTE) then
    return false
  end
  if level.concurrent and number(h.n) >= level.concurrent then
    return false
  end
  for _, b in ipairs(level.budgets) do
    local committed, held = count(h, b)
    local room = math.max(math.max(b.limit - committed, 0) - held, 0)
    if b.limit <= committed or b.needed > room then
      return false
    end
    if b.each > 0 then
      cap = math.min(cap, div_down(math.max(room - b.input, 0), b.each))
    end
  end
  return true
end
if not forced then
  for _, level in ipairs(levels) do
    if not fits(level) then
      -- What was read goes back: the gateway finds the reason by the same rules.
      local read = {}
      for i, each in ipairs(levels) do
        read[i] = each.flat
      end
      return { 'refused', text(now), read }
    end
  end
end

local parts, limits, seen = {}, {}, {}
local function write(level)
  local h, least = level.h, 7 * DAY
  local set = { 'n', text(number(h.n) + 1) }
  if level.requests then
    set[#set + 1], set[#set + 2] = 'q', text(charge(number(h.q), 1, level.requests, now))
  end
  if level.tokens then
    set[#set + 1], set[#set + 2] = 't', text(charge(number(h.t), rate_tokens, level.tokens, now))
  end
  for _, b in ipairs(level.budgets) do
    local amount = plus(b.input, b.each > 0 and math.min(cap * b.each, MAX) or 0)
    make_room(level.name, h, b.field, now)
    h['h:' .. b.field] = text(plus(number(h['h:' .. b.field]), amount))
    set[#set + 1], set[#set + 2] = 'h:' .. b.field, h['h:' .. b.field]
    parts[#parts + 1] = { level.name, b.field, text(b.limit), text(amount) }
    least = math.max(least, b.ending - now + DAY)
  end
  redis.call('HSET', base .. ':k:' .. level.name, unpack(set))
  keep(level.name, h, least)
  limits[#limits + 1] = { level.name, level.tokens and text(level.tokens) or '' }
end
for _, level in ipairs(levels) do
  if not seen[level.name] then -- A key that stands twice in a path counts once.
    seen[level.name] = true
    write(level)
  end
end
redis.call('HSET', hold_key, 'cap', text(cap), 'a', text(now), 'r', text(rate_tokens), 'p', cmsgpack.pack(parts), 'l',
  cmsgpack.pack(limits))
redis.call('ZADD', base .. ':x', text(now + ttl), id)
redis.call('DEL', base .. ':e:' .. id)
return { 'held', text(cap), text(now), parts }
