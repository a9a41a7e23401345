-- Sets what is committed of a budget back to nothing, in all its windows that are not over; once for each reset. What is
-- held stays. key, budget ('*' = all), id of the reset, fresh, now, most entries of the stream, the record's id, record
local name, budget, reset, fresh, now = arg(), arg(), arg(), arg() == '1', clock(arg())
local most, request, record = arg(), arg(), arg()
if emptied() then
  return { 'emptied' }
end
local no = refused('HSET', 'HDEL', 'SET', 'XADD')
if no then
  return no
end
local h = known(name)
if not h.m then
  return { 'strangers', { name } }
end
-- Noted in the key as well, which takes that along into another tree: there an old reset would be carried out once more.
local mark = 'r:' .. budget .. ':' .. reset
local once = base .. ':r:' .. name .. ':' .. budget .. ':' .. reset
if h[mark] or not call('SET', once, '1', 'NX', 'PX', 400 * DAY) then
  return { 'again' }
end
call('HSET', base .. ':k:' .. name, mark, text(now))
for f, value in pairs(h) do
  if f:sub(1, 2) == 'r:' and number(value) < now - 400 * DAY then
    call('HDEL', base .. ':k:' .. name, f)
  end
end
if not fresh and call('EXISTS', base .. ':restored') == 1 then
  return { 'noted' }
end
local parts = {}
for f, value in pairs(h) do
  if f:sub(1, 2) == 'c:' and number(value) > 0 then
    local _, _, ending, its = parse(f:sub(3))
    if ending and tonumber(ending) > now and (budget == '*' or its == budget) then
      parts[#parts + 1] = { name, f:sub(3), '0', '-' .. value }
      call('HSET', base .. ':k:' .. name, f, '0')
    end
  end
end
if most ~= '0' then
  call('XADD', base .. ':s', 'MAXLEN', '~', most, '*', 'id', request, 'how', 'reset', 'cost', '0', 'input', '0', 'output',
    '0', 'postings', #parts > 0 and cjson.encode(parts) or '[]', 'request', request, 'record', record)
end
return { 'ok', parts }
