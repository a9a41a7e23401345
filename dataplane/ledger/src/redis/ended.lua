-- Tells a lost tree that is being restored what ended in it: that is among the sums that are put back, and gateways may tell
-- some of it again. Before which time not all of it is known ('' = it is), number of settled ids, ids, then for each hold that
-- died: id, w or l, cost, input, output
local forgotten, settled = arg(), num()
if not emptied() then
  return { 'open' }
end
local no = refused('SET', 'SADD', 'PEXPIRE')
if no then
  return no
end
-- A reset that comes anew may have been carried out before, for as long as gateways may not have said so.
call('SET', base .. ':restored', '1', 'PX', DAY)
if forgotten ~= '' then
  call('SET', base .. ':f', forgotten, 'PX', KEEP_SETTLED)
end
for i = 1, settled do
  call('SADD', base .. ':e:restored', arg())
end
if settled > 0 then
  call('PEXPIRE', base .. ':e:restored', KEEP_SETTLED)
end
while cursor < #ARGV do
  local id, charged = arg(), { arg(), arg(), arg(), arg() }
  call('SET', base .. ':e:' .. id, table.concat(charged, ' '), 'PX', KEEP_DEAD)
end
return { 'ok' }
