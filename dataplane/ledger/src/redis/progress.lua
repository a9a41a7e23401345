-- Renews a hold and notes what was used so far; neither ever goes back. id, cost, input, output, expires
local id = arg()
local key = base .. ':h:' .. id
if redis.call('EXISTS', key) == 0 then
  return { emptied() and 'emptied' or 'none' }
end
local so_far = redis.call('HMGET', key, 'c', 'i', 'o')
redis.call('HSET', key, 'c', text(math.max(number(so_far[1]), num())), 'i', text(math.max(number(so_far[2]), num())), 'o',
  text(math.max(number(so_far[3]), num())))
redis.call('ZADD', base .. ':x', 'XX', 'GT', text(num()), id)
return { 'live' }
