-- Which commands the user may not. KEYS[1] is any key of the ledger's. the commands
local missing = {}
for i = 1, #ARGV do
  if not redis.acl_check_cmd(ARGV[i], KEYS[1]) then
    missing[#missing + 1] = ARGV[i]
  end
end
return { 'ok', missing }
