-- What ends a hold: used by the scripts that post.

-- As `refused`, for all that posting takes.
local function may_not_post(...)
  return refused('DEL', 'ZREM', 'HMGET', 'HKEYS', 'HDEL', 'HSET', 'PEXPIRE', 'XADD', ...)
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

-- Applies the end of a hold, or a late charge, to one key; false if the key lives in another tree.
--   change.ended      whether a running request ends here
--   change.limit      the tokens a minute by which it was charged, if any
--   change.used       tokens to which the rate's charge of change.charged at change.at is corrected, if it is
--   change.parts      {field, held, amount}: amounts to release and to post
local function apply(name, change, now)
  local fields = { 'm', 'd', 'e', 'n', 't' }
  for i, part in ipairs(change.parts) do
    fields[4 + 2 * i], fields[5 + 2 * i] = 'c:' .. part[1], 'h:' .. part[1]
  end
  local was = call('HMGET', base .. ':k:' .. name, unpack(fields))
  if not was[1] then
    return false
  end
  local set, least = {}, 7 * DAY
  if change.ended then
    set[1], set[2] = 'n', math.max(number(was[4]) - 1, 0)
  end
  if change.limit and change.used then
    set[#set + 1] = 't'
    set[#set + 1] = correct(number(was[5]), change.limit, change.charged, change.used, change.at, now)
  end
  for i, part in ipairs(change.parts) do
    local field, held, amount = part[1], part[2], part[3]
    local _, _, ending = parse(field)
    ending = tonumber(ending)
    if ending > now and (held > 0 or amount > 0) then
      local committed, holds = was[4 + 2 * i], was[5 + 2 * i]
      if not committed and not holds then
        make_room(name, now)
      end
      if amount > 0 or not committed then
        set[#set + 1], set[#set + 2] = fields[4 + 2 * i], plus(number(committed), amount)
      end
      if held > 0 or not holds then
        set[#set + 1], set[#set + 2] = fields[5 + 2 * i], math.max(number(holds) - held, 0)
      end
      least = math.max(least, ending - now + DAY)
    end
  end
  if #set > 0 then
    write_hash(name, was[2], was[3], least, now, set)
  end
  return true
end

-- Applies changes by key; those of keys that have moved away are kept for the gateway to bring after them.
local function apply_all(id, changes, now)
  local away = 0
  for name, change in pairs(changes) do
    if not apply(name, change, now) then
      call('HSET', base .. ':o', id .. '|' .. text(now) .. '|' .. name, cmsgpack.pack(change))
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
  local changes, held_tokens = changes_of(hold.l), 0
  for _, change in pairs(changes) do
    change.ended, change.used, change.charged, change.at = true, tokens, hold.r, hold.a
  end
  local parts = hold.p
  for _, part in ipairs(parts) do
    local name, field, held = part[1], part[2], tonumber(part[4])
    if field:sub(1, 1) == 't' then
      held_tokens = math.max(held_tokens, held)
    end
    local list = changes[name].parts
    list[#list + 1] = { field, held, used and amount_of(field, used) or 0 }
  end
  call('DEL', base .. ':h:' .. id)
  call('ZREM', base .. ':x', id)
  return apply_all(id, changes, now), held_tokens, parts
end

-- The billing record, written in the same step as the charge. `request` is the record's id, to which several entries may
-- belong.
local function journal(id, how, used, parts, most, request, record, levels)
  if most == '0' then
    return
  end
  local counters = {}
  for i, part in ipairs(parts) do
    counters[i] = { part[1], part[2], part[3], text(amount_of(part[2], used)) }
  end
  call('XADD', base .. ':s', 'MAXLEN', '~', most, '*', 'id', id, 'how', how, 'cost', text(used.cost), 'input',
    text(used.input), 'output', text(used.output), 'postings', #counters > 0 and cjson.encode(counters) or '[]', 'request',
    request, 'record', record, 'levels', levels or '')
end
