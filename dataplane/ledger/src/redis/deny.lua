-- Refuses a key from now on, or no longer ('' = no longer). key, reason
local name, reason = arg(), arg()
if emptied() then
  return { 'emptied' }
end
local no = refused('HSET', 'HDEL', 'PEXPIRE', 'PERSIST')
if no then
  return no
end
local key = base .. ':k:' .. name
if call('HEXISTS', key, 'm') == 0 then
  return { 'strangers', { name } }
end
if reason == '' then
  call('HDEL', key, 'd', 'e')
  call('PEXPIRE', key, text(400 * DAY))
else
  call('HSET', key, 'd', reason)
  call('PERSIST', key)
end
return { 'ok' }
