-- Takes a key out of this tree and returns what it has; again the same for the same move. key, move's id
local name, move = arg(), arg()
if emptied() then
  return { 'emptied' }
end
local no = refused('SET', 'DEL')
if no then
  return no
end
local left = base .. ':l:' .. move
local before = call('GET', left)
if before then
  return { 'ok', cmsgpack.unpack(before) }
end
local _, flat = known(name)
call('SET', left, cmsgpack.pack(flat), 'PX', 7 * DAY)
call('DEL', base .. ':k:' .. name)
return { 'ok', flat }
