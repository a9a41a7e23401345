-- Renews holds and notes what they used so far; neither ever goes back. For each: id, cost, input, output, expires
local no = refused('SET', 'ZADD', 'DEL')
if no then
  return no
end
-- A Redis that is full refuses scripts at their first command that may take memory, and none that began to write before. Holds
-- take what they took already: those that are not renewed would be ended under requests that run.
call('DEL', base .. ':none')
local missing = false
while cursor < #ARGV do
  local id = arg()
  local cost, input, output, expires = num(), num(), num(), num()
  local hold = hold_of(id)
  if hold then
    hold.c, hold.i, hold.o =
      math.max(number(hold.c), cost), math.max(number(hold.i), input), math.max(number(hold.o), output)
    keep_hold(id, hold)
    call('ZADD', base .. ':x', 'XX', 'GT', expires, id)
  else
    missing = true
  end
end
if missing and emptied() then
  return { 'emptied' }
end
return { 'ok' }
