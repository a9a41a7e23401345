-- Says where a key lives from now on, unless another was faster. KEYS[1] is the key's home. before ('' = none), after
local now = redis.call('GET', KEYS[1]) or ''
if now == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2])
  return { 'ok' }
end
return { 'other', now }
