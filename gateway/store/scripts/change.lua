-- Sets fields, or deletes the record if none are given.
-- KEYS: record. ARGV: the expected revisions, one of which it must be at ('': any), the names of
-- the fields that make a revision, then pairs of field and value. Returns the verdict: done,
-- missing, changed.
local record = KEYS[1]

local function revision()
  local names, parts = {}, {}
  for name in string.gmatch(ARGV[2], '%S+') do names[#names + 1] = name end
  for i, value in ipairs(redis.call('HMGET', record, unpack(names))) do
    parts[i] = value and (#value .. ':' .. value) or '-'
  end
  return redis.sha1hex(table.concat(parts, ','))
end

if redis.call('EXISTS', record) == 0 then return 'missing' end
if ARGV[1] ~= '' and not string.find(ARGV[1], revision(), 1, true) then return 'changed' end
if #ARGV > 2 then
  redis.call('HSET', record, unpack(ARGV, 3))
else
  redis.call('DEL', record)
end
return 'done'
