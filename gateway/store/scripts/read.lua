-- Fields of many records in one command: KEYS are their names, ARGV the fields.
-- What is no record answers nothing, as one that is gone.
local found = {}
for place, name in ipairs(KEYS) do
  local values = redis.pcall('HMGET', name, unpack(ARGV))
  if values.err then
    if not string.find(values.err, 'WRONGTYPE', 1, true) then return values end
    values = false
  end
  found[place] = values
end
return found
