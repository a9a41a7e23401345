-- What all scripts share; the arithmetic is that of rules.rs.
--
-- Lua's numbers are doubles: integers are exact up to 2^53. No amount that comes in is larger (the Rust side sees to it), sums
-- are cut off there, quotients are taken of exact multiples, and no number is ever put into text but by '%.0f'.
--
-- KEYS[1] is the tree's base, `PREFIX:{ROOT}`. All other keys are made from it and lie in its slot:
--   g         the generation: its absence says that this Redis was emptied
--   k:KEY     all that is known of one key: m (it belongs to this tree), d (denied), n (running), q t (rates, drained at, us),
--             c:FIELD h:FIELD (committed and held; FIELD = u|t:START:END:BUDGET)
--   h:ID      a hold; x: ids of holds by the time at which they are dead
--   e:ID      an id that ended: "s" settled, or "w COST IN OUT" dead and charged this
--   o         changes for keys that have moved to another tree since they were held
--   s         billing records (a stream)
local MAX = 9007199254740991
local MINUTE = 60000000
local DAY = 86400000
local KEEP_SETTLED = 120000
local base = KEYS[1]

local cursor = 0
local function arg()
  cursor = cursor + 1
  return ARGV[cursor]
end
local function num()
  return tonumber(arg())
end

local function number(value)
  return tonumber(value) or 0
end
local function text(n)
  return string.format('%.0f', n)
end
local function plus(a, b)
  return math.min(a + b, MAX)
end
local function div_down(a, b)
  return (a - math.fmod(a, b)) / b
end
local function div_up(a, b)
  local rest = math.fmod(a, b)
  return (a - rest) / b + (rest > 0 and 1 or 0)
end

-- Now in Unix milliseconds: the server's clock, unless a test passes its own.
local function clock(given)
  if given ~= '' then
    return tonumber(given)
  end
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Rate::drain_time, in whole minutes and the rest of one, so that the product stays exact.
local function drain(amount, limit)
  local each = math.max(limit, 1)
  local rest = math.fmod(amount, each)
  return math.min((amount - rest) / each * MINUTE + div_up(rest * MINUTE, each), MAX)
end
-- Rate::charge
local function charge(drained, amount, limit, now)
  return plus(math.max(drained, now * 1000), drain(amount, limit))
end
-- Rate::correct
local function correct(drained, limit, charged, used, charged_at, now)
  if used > charged then
    return charge(drained, used - charged, limit, now)
  end
  local elapsed = math.max((now - charged_at) * 1000, 0)
  local still_there = math.max(drain(charged, limit) - elapsed, 0)
  return math.max(drained - math.min(drain(charged - used, limit), still_there), 0)
end

local function emptied()
  return redis.call('EXISTS', base .. ':g') == 0
end

local function hash(key)
  local flat, found = redis.call('HGETALL', key), {}
  for i = 1, #flat, 2 do
    found[flat[i]] = flat[i + 1]
  end
  return found, flat
end
local function known(name)
  return hash(base .. ':k:' .. name)
end

-- Parts of a counter's field.
local function parse(field)
  return field:match('^([ut]):(%-?%d+):(%-?%d+):(.*)$')
end

-- Before a new window is counted, those that are over are dropped: their number stays bounded.
local function make_room(name, h, field, now)
  if h['c:' .. field] or h['h:' .. field] then
    return
  end
  local over = {}
  for f in pairs(h) do
    if f:sub(2, 2) == ':' then
      local _, _, ending = parse(f:sub(3))
      if ending and tonumber(ending) <= now then
        over[#over + 1] = f
      end
    end
  end
  for from = 1, #over, 1000 do
    redis.call('HDEL', base .. ':k:' .. name, unpack(over, from, math.min(from + 999, #over)))
  end
end

-- A key's hash lives as long as its longest window and a week at least; a denied key's for ever.
local function keep(name, h, least)
  if h.d then
    return
  end
  local key = base .. ':k:' .. name
  if redis.call('PTTL', key) < least then
    redis.call('PEXPIRE', key, text(math.min(least, 3650 * DAY) + DAY))
  end
end

-- Applies the end of a hold, or a late charge, to one key; false if the key lives in another tree.
--   change.ended      whether a running request ends here
--   change.limit      the tokens a minute by which it was charged, if any
--   change.used       tokens to which the rate's charge of change.charged at change.at is corrected, if it is
--   change.parts      {field, held, amount}: amounts to release and to post
local function apply(name, change, now)
  local h = known(name)
  if not h.m then
    return false
  end
  local set, least = {}, 7 * DAY
  if change.ended then
    set[#set + 1], set[#set + 2] = 'n', text(math.max(number(h.n) - 1, 0))
  end
  if change.limit and change.used then
    set[#set + 1] = 't'
    set[#set + 1] = text(correct(number(h.t), change.limit, change.charged, change.used, change.at, now))
  end
  for _, part in ipairs(change.parts) do
    local field, held, amount = part[1], part[2], part[3]
    local _, _, ending = parse(field)
    ending = tonumber(ending)
    if ending > now and (held > 0 or amount > 0) then
      make_room(name, h, field, now)
      h['c:' .. field] = text(plus(number(h['c:' .. field]), amount))
      h['h:' .. field] = text(math.max(number(h['h:' .. field]) - held, 0))
      for _, kind in ipairs({ 'c:', 'h:' }) do
        set[#set + 1] = kind .. field
        set[#set + 1] = h[kind .. field]
      end
      least = math.max(least, ending - now + DAY)
    end
  end
  if #set > 0 then
    redis.call('HSET', base .. ':k:' .. name, unpack(set))
    keep(name, h, least)
  end
  return true
end

-- Applies changes by key; those of keys that have moved away are kept for the gateway to bring after them.
local function apply_all(id, changes, now)
  local away = 0
  for name, change in pairs(changes) do
    if not apply(name, change, now) then
      redis.call('HSET', base .. ':o', id .. '|' .. text(now) .. '|' .. name, cmsgpack.pack(change))
      away = away + 1
    end
  end
  return away
end

local function amount_of(field, used)
  if field:sub(1, 1) == 'u' then
    return used.cost
  end
  return plus(used.input, used.output)
end

-- Actual::above
local function above(used, other)
  local tokens = math.max(plus(used.input, used.output) - plus(other.input, other.output), 0)
  local output = math.min(math.max(used.output - other.output, 0), tokens)
  return { cost = math.max(used.cost - other.cost, 0), input = tokens - output, output = output }
end

local function changes_of(levels)
  local changes = {}
  for _, level in ipairs(levels) do
    changes[level[1]] = { limit = tonumber(level[2]), parts = {} }
  end
  return changes
end

-- Ends a hold: releases it, posts what was used (nothing if nil), corrects the rates to `tokens` (nil: leaves them).
-- Returns how many changes wait in the outbox, the tokens that were held at token budgets, and the counters.
local function finish(id, hold, used, tokens, now)
  local changes, held_tokens = changes_of(cmsgpack.unpack(hold.l)), 0
  for _, change in pairs(changes) do
    change.ended, change.used, change.charged, change.at = true, tokens, number(hold.r), number(hold.a)
  end
  local parts = cmsgpack.unpack(hold.p)
  for _, part in ipairs(parts) do
    local name, field, held = part[1], part[2], tonumber(part[4])
    if field:sub(1, 1) == 't' then
      held_tokens = math.max(held_tokens, held)
    end
    local list = changes[name].parts
    list[#list + 1] = { field, held, used and amount_of(field, used) or 0 }
  end
  redis.call('DEL', base .. ':h:' .. id)
  redis.call('ZREM', base .. ':x', id)
  return apply_all(id, changes, now), held_tokens, parts
end

-- The billing record, written in the same step as the charge.
local function journal(id, how, used, parts, most, record)
  local counters = {}
  for i, part in ipairs(parts) do
    counters[i] = { part[1], part[2], part[3], text(amount_of(part[2], used)) }
  end
  redis.call('XADD', base .. ':s', 'MAXLEN', '~', most, '*', 'id', id, 'how', how, 'cost', text(used.cost), 'input',
    text(used.input), 'output', text(used.output), 'postings', #counters > 0 and cjson.encode(counters) or '[]',
    'record', record)
end
