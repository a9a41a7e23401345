-- Charges dead holds their progress, and forgets what was settled long ago. now, how many at most (0: none), most entries of the stream.
-- Tells also which server this is (after a failover or a restart it is another) and how long the outbox is.
local now, batch, most = clock(arg()), arg(), arg()
if emptied() then
  return { 'emptied' }
end
local dead = {}
for _, id in ipairs(call('ZRANGEBYSCORE', base .. ':x', '-inf', text(now), 'LIMIT', 0, batch)) do
  local hold = hold_of(id)
  if hold then
    local used = { cost = number(hold.c), input = number(hold.i), output = number(hold.o) }
    local _, held_tokens, parts = finish(id, hold, used, nil, now)
    local charged = text(used.cost) .. ' ' .. text(used.input) .. ' ' .. text(used.output)
    call('SET', base .. ':e:' .. id, 'w ' .. charged, 'PX', KEEP_DEAD)
    local names = {}
    for i, level in ipairs(hold.l) do
      names[i] = level[1]
    end
    journal(id, 'dead', used, parts, most, id, '', #names > 0 and cjson.encode(names) or '')
    dead[#dead + 1] = { id, text(used.cost), text(used.input), text(used.output), text(held_tokens), parts }
  else
    call('ZREM', base .. ':x', id)
  end
end
local settled = 0
for ago = 0, KEEP_SETTLED, SETTLED_EACH do
  local key = settled_key(now - ago)
  local count = call('SCARD', key)
  settled = settled + count
  if ago > 0 and count > 0 and settled > MOST_SETTLED then
    call('UNLINK', key)
    call('SET', base .. ':f', text(now - ago + SETTLED_EACH), 'PX', KEEP_SETTLED)
  elseif ago <= SETTLED_EACH and count > 0 then
    call('PEXPIRE', key, KEEP_SETTLED + 2 * SETTLED_EACH, 'NX')
  end
end
local server = redis.pcall('INFO', 'server')
local run = type(server) == 'string' and server:match('run_id:(%w+)') or ''
return { 'ok', run, call('HLEN', base .. ':o'), dead }
