-- Marks a tree as restored after Redis was emptied, and ids as settled: their charges are among what is restored. ids
if emptied() then
  return { 'emptied' }
end
call('SET', base .. ':restored', '1')
for i = 1, #ARGV do
  call('SET', base .. ':e:' .. ARGV[i], 's', 'PX', 600000)
end
return { 'ok' }
