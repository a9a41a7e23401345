-- Charges dead holds their progress. now, how many at most, most entries of the stream.
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
    call('SET', base .. ':e:' .. id, 'w ' .. charged, 'PX', DAY)
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
local server = redis.pcall('INFO', 'server')
local run = type(server) == 'string' and server:match('run_id:(%w+)') or ''
return { 'ok', run, call('HLEN', base .. ':o'), dead }
