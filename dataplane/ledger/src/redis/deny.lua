-- Refuses a key from now on, or no longer ('' = no longer). key, reason
local name, reason = arg(), arg()
if emptied() then
  return { 'emptied' }
end
local key = base .. ':k:' .. name
if redis.call('HEXISTS', key, 'm') == 0 then
  return { 'strangers', { name } }
end
if reason == '' then
  redis.call('HDEL', key, 'd')
  redis.call('PEXPIRE', key, text(400 * DAY))
else
  redis.call('HSET', key, 'd', reason)
  redis.call('PERSIST', key)
end
return { 'ok' }
