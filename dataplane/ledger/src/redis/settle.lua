-- Posts what was used and releases the hold; without a hold, posts in full, or what is above what the sweep charged.
-- id, now, cost, input tokens, output tokens, most entries of the stream (0 = none), the request's id, record, since when it
-- may have been carried out ('' = it was not),
-- number of levels, (key, tokens a minute or '')…, number of counters, (key, field, limit)…
local id, now = arg(), clock(arg())
local used = { cost = num(), input = num(), output = num() }
local most, request, record, tried = arg(), arg(), arg(), num()
if emptied() then
  return { 'emptied' }
end
local no = may_not_post('SADD', 'SET', 'HEXISTS')
if no then
  return no
end
local hold = hold_of(id)
if hold then
  local away, held_tokens, parts = finish(id, hold, used, plus(used.input, used.output), now)
  note_settled(id, now)
  journal(id, 'live', used, parts, most, request, record)
  return { 'live', text(used.cost), text(used.input), text(used.output), text(held_tokens), away }
end

if is_settled(id, now) then
  return { 'again' }
end
local died, how, both = call('GET', base .. ':e:' .. id), 'unknown', nil
if died then
  local kind, cost, input, output = died:match('^(%a) (%d+) (%d+) (%d+)$')
  local charged = { cost = number(cost), input = number(input), output = number(output) }
  both = 'l'
  for _, of in ipairs({ 'cost', 'input', 'output' }) do
    both = both .. ' ' .. text(math.max(used[of], charged[of]))
  end
  used = above(used, charged)
  if kind == 'l' and used.cost + used.input + used.output == 0 then
    return { 'again' }
  end
  how = 'late'
elseif tried and tried < math.max(now - KEEP_SETTLED, number(call('GET', base .. ':f'))) then
  -- What would tell whether it was carried out is forgotten: it was, since a charge that is counted twice is worse.
  return { 'again' }
end
local levels, parts = {}, {}
for i = 1, num() do
  levels[i] = { arg(), arg() }
end
for i = 1, num() do
  parts[i] = { arg(), arg(), arg() }
end
local changes = changes_of(levels)
for _, change in pairs(changes) do
  -- The rates know only of the input's estimate.
  change.used, change.charged, change.at = used.output, 0, now
end
for _, part in ipairs(parts) do
  local name = part[1]
  changes[name] = changes[name] or { parts = {} }
  local list = changes[name].parts
  list[#list + 1] = { part[2], 0, amount_of(part[2], used) }
end
-- A level of another tree than the hold's is none of ours: only what has counters follows the key.
for name, change in pairs(changes) do
  if #change.parts == 0 and call('HEXISTS', base .. ':k:' .. name, 'm') == 0 then
    changes[name] = nil
  end
end
local away = apply_all(id, changes, now)
if both then
  -- It may be repeated after its id is forgotten, for as long as it is known that the hold died.
  call('SET', base .. ':e:' .. id, both, 'KEEPTTL')
end
note_settled(id, now)
journal(id, how, used, parts, most, request, record)
return { how, text(used.cost), text(used.input), text(used.output), '0', away }
