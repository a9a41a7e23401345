-- Releases a hold without a charge. id, now
local id, now = arg(), clock(arg())
if emptied() then
  return { 'emptied' }
end
local no = may_not_post()
if no then
  return no
end
local hold = hold_of(id)
if not hold then
  return { 'none', 0 }
end
return { 'live', (finish(id, hold, nil, 0, now)) }
