-- KEYS: record. ARGV: hash field, tag field, the hash that was verified, tag, known pepper ids…
-- Writes nothing if the record was deleted or rotated since it was read.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[3] then
  return 0
end
local present = redis.call('HGET', KEYS[1], ARGV[2]) or ''
local pid, of = string.match(present, '^(%x%x%x%x%x%x%x%x):(%x+):%x+$')
-- A tag of another hash says nothing about this one, whoever made it.
if pid and of == string.match(ARGV[4], '^%x+:(%x+):') then
  local known = false
  for i = 5, #ARGV do
    known = known or ARGV[i] == pid
  end
  -- A tag of another gateway's pepper is as good as ours, and two gateways would overwrite each
  -- other's.
  if not known then
    return 0
  end
end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[4])
return 1
