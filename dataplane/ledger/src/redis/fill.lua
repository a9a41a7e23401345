-- Makes a key a member of a lost tree that is being restored, with what was committed; in place of what an earlier try put
-- there. key, then fields and amounts
local name = arg()
if not emptied() then
  return { 'open' }
end
local no = refused('DEL', 'HSET', 'PEXPIRE')
if no then
  return no
end
local key, least, now = base .. ':k:' .. name, 7 * DAY, clock('')
call('DEL', key)
while cursor < #ARGV do
  local field, amount = arg(), arg()
  call('HSET', key, field, amount)
  local _, _, ending = parse(field:sub(3))
  least = math.max(least, ending and tonumber(ending) - now + DAY or 0)
end
write_hash(name, nil, nil, least, now, { 'm', '1' })
return { 'ok' }
