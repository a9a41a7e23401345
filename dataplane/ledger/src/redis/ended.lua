-- Marks a tree as restored after Redis was emptied, and ids as settled: their charges are among what is restored. ids
if emptied() then
  return { 'emptied' }
end
call('SET', base .. ':restored', '1')
local settled = base .. ':e:restored'
for i = 1, #ARGV do
  call('SADD', settled, ARGV[i])
end
call('PEXPIRE', settled, KEEP_SETTLED)
return { 'ok' }
