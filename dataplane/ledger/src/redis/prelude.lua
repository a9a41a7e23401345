-- What all scripts share; the arithmetic is that of rules.rs.
--
-- Lua's numbers are doubles: integers are exact up to 2^53. No amount that comes in is larger (the Rust side sees to it), sums
-- are cut off there, quotients are taken of exact multiples. A number becomes text by '%.0f', or as an argument of a command:
-- Redis writes those with 17 digits.
--
-- KEYS[1] is the tree's base, `PREFIX:{ROOT}`. All other keys are made from it and lie in its slot:
--   g         the generation: its absence says that this Redis was emptied
--   k:KEY     all that is known of one key: m (it belongs to this tree), d (denied), n (running), q t (rates, drained at, us),
--             e (until when it is kept), c:FIELD h:FIELD (committed and held; FIELD = u|t:START:END:BUDGET), r:BUDGET:ID (when
--             this reset was carried out)
--   h:ID      a hold, packed: cap, a (when), r (rate tokens), p (parts), l (levels), c i o (so far); x: ids of holds by the time
--             at which they are dead
--   e:ID      a hold that died: "w COST IN OUT", what it was charged; "l …" after its late settle: what both came to
--   e:N       ids that were settled, a set for each minute (N of them since 1970); e:restored: those of a restored tree
--   f         what was settled before this time is forgotten, so many were they
--   o         changes for keys that have moved to another tree since they were held
--   restored  the tree was lost and restored, within the last day
--   r:…       resets that were carried out
--   s         billing records (a stream)
local MAX = 9007199254740991
local MINUTE = 60000000
local DAY = 86400000
local KEEP_SETTLED = 3600000 -- a settle whose answer was lost is repeated when Redis is back, and must not count twice
local SETTLED_EACH = 60000 -- settled ids are forgotten in lots of so many ms
local SETTLED_AHEAD = 600000 -- so far a server's clock may be behind that of the one before
local MOST_SETTLED = 1000000 -- and the oldest lots sooner where they are more: at most about 100 MB a tree
local KEEP_DEAD = 8 * DAY -- a gateway that was away for a week posts what is above what its dead holds were charged
local base = KEYS[1]
local call, format, fmod = redis.call, string.format, math.fmod

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
  return format('%.0f', n)
end
local function plus(a, b)
  return math.min(a + b, MAX)
end
local function div_down(a, b)
  return (a - fmod(a, b)) / b
end
local function div_up(a, b)
  local rest = fmod(a, b)
  return (a - rest) / b + (rest > 0 and 1 or 0)
end

-- Now in Unix milliseconds: the server's clock, unless a test passes its own.
local function clock(given)
  if given ~= '' then
    return tonumber(given)
  end
  local t = call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- Rate::drain_time, in whole minutes and the rest of one, so that the product stays exact.
local function drain(amount, limit)
  local each = math.max(limit, 1)
  local rest = fmod(amount, each)
  return math.min((amount - rest) / each * MINUTE + div_up(rest * MINUTE, each), MAX)
end
-- Rate::charge
local function charge(drained, amount, limit, now)
  return plus(math.max(drained, now * 1000), drain(amount, limit))
end
local function emptied()
  return call('EXISTS', base .. ':g') == 0
end

-- An error if one of these commands may not be used. What a script changes it changes whole: so it asks before it begins.
local function refused(...)
  for _, command in ipairs({ ... }) do
    if not redis.acl_check_cmd(command, base) then
      return redis.error_reply('NOPERM ' .. command .. ' is not among the rights of this user')
    end
  end
end

local function hash(key)
  local flat, found = call('HGETALL', key), {}
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

local function hold_of(id)
  local packed = call('GET', base .. ':h:' .. id)
  return packed and cmsgpack.unpack(packed)
end
local function keep_hold(id, hold)
  call('SET', base .. ':h:' .. id, cmsgpack.pack(hold))
end

local function settled_key(now)
  return base .. ':e:' .. math.floor(now / SETTLED_EACH)
end
local function note_settled(id, now)
  local key = settled_key(now)
  call('SADD', key, id)
  call('PEXPIRE', key, KEEP_SETTLED + SETTLED_AHEAD + 2 * SETTLED_EACH, 'NX')
end
local function is_settled(id, now)
  for at = now + SETTLED_AHEAD, now - KEEP_SETTLED, -SETTLED_EACH do
    if call('SISMEMBER', settled_key(at), id) == 1 then
      return true
    end
  end
  return call('SISMEMBER', base .. ':e:restored', id) == 1
end

-- Before a new window is counted, those that are over are dropped: their number stays bounded.
local function make_room(name, now)
  local over = {}
  for _, f in ipairs(call('HKEYS', base .. ':k:' .. name)) do
    if f:sub(2, 2) == ':' then
      local _, _, ending = parse(f:sub(3))
      if ending and tonumber(ending) <= now then
        over[#over + 1] = f
      end
    end
  end
  for from = 1, #over, 1000 do
    call('HDEL', base .. ':k:' .. name, unpack(over, from, math.min(from + 999, #over)))
  end
end

-- A key's hash lives as long as its longest window and a week at least (`e` says until when it does); a denied key's for
-- ever. Writes `set`.
local function write_hash(name, denied, until_now, least, now, set)
  local key, lasting = base .. ':k:' .. name, nil
  if not denied and number(until_now) < now + least then
    lasting = math.min(least, 3650 * DAY) + DAY
    set[#set + 1], set[#set + 2] = 'e', now + lasting
  end
  call('HSET', key, unpack(set))
  if lasting then
    call('PEXPIRE', key, lasting)
  end
end
