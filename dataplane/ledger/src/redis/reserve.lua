-- Holds at all levels, or at none.
-- id, now, time to live (ms), output cap, rate tokens, forced (replay: nothing is checked), number of levels, then for each
--   key, requests a minute, tokens a minute, concurrent ('' = none), number of budgets, then for each
--     unit, name, limit, input, each (price of a token of the cap), needed at least,
--     'r', bucket length, span  |  'w', number of windows, start, end, …
local id, now, ttl, cap, rate_tokens, forced = arg(), clock(arg()), num(), num(), num(), arg() == '1'
if emptied() then
  return { 'emptied' }
end
local no = refused('HSET', 'PEXPIRE', 'HKEYS', 'HDEL', 'SET', 'ZADD', 'DEL')
if no then
  return no
end
local before = hold_of(id)
if before then
  return { 'again', text(before.cap), text(now), before.p }
end
if forced and (call('EXISTS', base .. ':e:' .. id) == 1 or is_settled(id, now)) then
  return { 'ended' }
end

-- The window that now lies in, as the start of a field's name.
local function window(b)
  if b.length then
    local start = now - fmod(now, b.length)
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

local clock_off, rolling = false, false
local function read_budget()
  local b = { unit = arg(), name = arg(), limit = arg(), input = num(), each = num(), needed = num() }
  if arg() == 'r' then
    b.length, b.span, rolling = num(), num(), true
  else
    b.windows = {}
    for i = 1, num() do
      b.windows[i] = { arg(), arg() }
    end
  end
  local found = window(b)
  if found then
    b.field = b.unit .. ':' .. found .. ':' .. b.name
  else
    clock_off, b.field = true, ''
  end
  return b
end

-- Committed and held of a rolling budget: of all its buckets that still count.
local function sums(h, b)
  local all = { c = 0, h = 0 }
  for f, value in pairs(h) do
    if f:sub(2, 2) == ':' then
      local unit, start, ending, name = parse(f:sub(3))
      start, ending = tonumber(start), tonumber(ending)
      if unit == b.unit and name == b.name and start <= now and now < ending and ending - start == b.length + b.span then
        local kind = f:sub(1, 1)
        all[kind] = plus(all[kind], number(value))
      end
    end
  end
  return all.c, all.h
end

local levels, strangers, denied = {}, {}, nil
for i = 1, num() do
  local level = { name = arg(), requests = num(), tokens = num(), concurrent = num(), budgets = {} }
  local fields = { 'm', 'd', 'e', 'n', 'q', 't' }
  rolling = false
  for j = 1, num() do
    local b = read_budget()
    level.budgets[j] = b
    fields[5 + 2 * j], fields[6 + 2 * j] = 'c:' .. b.field, 'h:' .. b.field
  end
  local was = call('HMGET', base .. ':k:' .. level.name, unpack(fields))
  level.d, level.e, level.n, level.q, level.t = was[2], was[3], number(was[4]), number(was[5]), number(was[6])
  local all = rolling and known(level.name)
  for j, b in ipairs(level.budgets) do
    b.new, b.bucket = not (was[5 + 2 * j] or was[6 + 2 * j]), number(was[6 + 2 * j])
    if b.length then
      b.committed, b.held = sums(all, b)
    else
      b.committed, b.held = number(was[5 + 2 * j]), b.bucket
    end
  end
  levels[i] = level
  if not was[1] then
    strangers[#strangers + 1] = level.name
  end
  if level.d and not denied then
    denied = level
  end
end
if #strangers > 0 then
  return { 'strangers', strangers }
end
if denied and not forced then
  return { 'denied', denied.name, denied.d }
end
if clock_off then
  return { 'clock', text(now) }
end

-- Rate::check
local function passes(drained, amount, limit, burst)
  local from = math.max(drained, now * 1000)
  return amount <= limit and from + drain(amount, limit) - now * 1000 <= burst
end

local function fits(level)
  local requests, tokens = level.requests, level.tokens
  if requests and not passes(level.q, 1, requests, div_up(MINUTE, math.max(requests, 1)) * requests) then
    return false
  end
  if tokens and not passes(level.t, rate_tokens, tokens, MINUTE) then
    return false
  end
  if level.concurrent and level.n >= level.concurrent then
    return false
  end
  for _, b in ipairs(level.budgets) do
    local limit = tonumber(b.limit)
    local room = math.max(math.max(limit - b.committed, 0) - b.held, 0)
    if limit <= b.committed or b.needed > room then
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
      -- What is known goes back: the gateway finds the reason by the same rules.
      local read = {}
      for i, each in ipairs(levels) do
        local _, flat = known(each.name)
        read[i] = flat
      end
      return { 'refused', text(now), read }
    end
  end
end

local parts, limits, seen = {}, {}, {}
local answer = { 'held', text(cap), text(now) }
local function write(level)
  local least = 7 * DAY
  local set = { 'n', level.n + 1 }
  if level.requests then
    set[#set + 1], set[#set + 2] = 'q', charge(level.q, 1, level.requests, now)
  end
  if level.tokens then
    set[#set + 1], set[#set + 2] = 't', charge(level.t, rate_tokens, level.tokens, now)
  end
  for _, b in ipairs(level.budgets) do
    local amount = plus(b.input, b.each > 0 and math.min(cap * b.each, MAX) or 0)
    if b.new then
      make_room(level.name, now)
    end
    set[#set + 1], set[#set + 2] = 'h:' .. b.field, plus(b.bucket, amount)
    parts[#parts + 1] = { level.name, b.field, b.limit, text(amount) }
    answer[#answer + 1] = b.field
    least = math.max(least, b.ending - now + DAY)
  end
  write_hash(level.name, level.d, level.e, least, now, set)
  limits[#limits + 1] = { level.name, level.tokens and text(level.tokens) or '' }
end
for _, level in ipairs(levels) do
  if not seen[level.name] then -- A key that stands twice in a path counts once.
    seen[level.name] = true
    write(level)
  end
end
keep_hold(id, { cap = cap, a = now, r = rate_tokens, p = parts, l = limits })
call('ZADD', base .. ':x', now + ttl, id)
call('DEL', base .. ':e:' .. id)
return answer
