-- Applies a change that an old tree of a key kept for it; once. the change's id, key, now, change
local id, name, now, change = arg(), arg(), clock(arg()), cmsgpack.unpack(arg())
if emptied() then
  return { 'emptied' }
end
local no = may_not_post('SET')
if no then
  return no
end
local once = base .. ':y:' .. id
if call('EXISTS', once) == 1 then
  return { 'ok' }
end
if not apply(name, change, now) then
  return { 'away' }
end
call('SET', once, '1', 'PX', 7 * DAY)
return { 'ok' }
