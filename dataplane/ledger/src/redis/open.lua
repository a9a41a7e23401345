-- Whether a tree without a generation is new or was lost. KEYS[1] is the ledger's own base. root
local root = ARGV[1]
local generation = redis.call('GET', KEYS[1] .. ':generation')
local state = redis.call('HGET', KEYS[1] .. ':trees', root)
if not generation or state == 'live' then
  return { 'emptied' }
end
if not state then
  redis.call('HSET', KEYS[1] .. ':trees', root, 'new')
end
return { 'new', generation }
