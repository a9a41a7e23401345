-- Charges dead holds their progress, and forgets what was settled long ago. now, how many at most (0: none), most entries of the stream,
--   which server it was last time ('': not known).
-- Tells also which server this is (after a failover, a restart or a restore it is another) and how long the outbox is.
local now, batch, most, seen = clock(arg()), arg(), arg(), arg()
if emptied() then
  return { 'emptied' }
end
local no = may_not_post('SET', 'SCARD', 'UNLINK', 'HLEN')
if no then
  return no
end
local server = redis.pcall('INFO', 'server')
local run = (type(server) == 'string' and server:match('run_id:(%w+)') or '') .. call('GET', base .. ':g')
-- What another server knows may be old: those who hold here have told the last one since.
if seen ~= '' and seen ~= run then
  batch = 0
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
-- Only where ids come thick: older lots were looked at when they were new.
local function count(ago)
  return call('SCARD', settled_key(now - ago))
end
if count(0) + count(SETTLED_EACH) > MOST_SETTLED / 1000 then
  local settled, forgotten = count(0), nil
  for ago = SETTLED_EACH, KEEP_SETTLED + SETTLED_EACH, SETTLED_EACH do
    settled = settled + count(ago)
    if settled > MOST_SETTLED then
      call('UNLINK', settled_key(now - ago))
      forgotten = forgotten or (math.floor((now - ago) / SETTLED_EACH) + 1) * SETTLED_EACH
    end
  end
  if forgotten then
    call('SET', base .. ':f', text(math.max(forgotten, number(call('GET', base .. ':f')))), 'PX', KEEP_SETTLED)
  end
end
return { 'ok', run, call('HLEN', base .. ':o'), dead }
