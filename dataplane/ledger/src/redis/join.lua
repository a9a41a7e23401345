-- Makes a key a member of this tree, with what it brings along; once for each move. key, move's id ('' = none), then
-- fields and values.
local name, move = arg(), arg()
if emptied() then
  return { 'emptied' }
end
local no = refused('SET', 'HSET', 'HGETALL', 'PEXPIRE', 'PERSIST')
if no then
  return no
end
-- Longer than what left with it is kept (leave.lua): whoever completes the move later finds nothing to bring again.
if move ~= '' and not call('SET', base .. ':j:' .. move, '1', 'NX', 'PX', 8 * DAY) then
  return { 'ok' }
end
local key = base .. ':k:' .. name
local h, least, now = known(name), 7 * DAY, clock('')
for at = cursor + 1, #ARGV, 2 do
  local field, value = ARGV[at], ARGV[at + 1]
  if field:sub(1, 2) == 'r:' then
    call('HSET', key, field, value)
  elseif field == 'n' or field:sub(2, 2) == ':' then
    call('HSET', key, field, text(plus(number(h[field]), number(value))))
  elseif field == 'q' or field == 't' then
    call('HSET', key, field, text(math.max(number(h[field]), number(value))))
  elseif field == 'd' then
    call('HSET', key, field, value)
    h.d = value
  end
  local _, _, ending = parse(field:sub(3))
  least = math.max(least, ending and tonumber(ending) - now + DAY or 0)
end
write_hash(name, h.d, nil, least, now, { 'm', '1' })
if h.d then
  call('PERSIST', key)
end
return { 'ok' }
