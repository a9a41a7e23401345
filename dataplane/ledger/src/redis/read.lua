-- All that is known of keys of this tree: a list for each, in their order; empty where a key does not live here. keys
if emptied() then
  return { 'emptied' }
end
local all = {}
for i = 1, #ARGV do
  local h, flat = known(ARGV[i])
  all[i] = h.m and flat or {}
end
return { 'ok', all }
