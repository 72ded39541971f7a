-- Arguments: the method; the number of bytes of the body, or a file that is sent instead; and, for
-- mixed requests, a file with one request a line (path, key), from which they are drawn at random.
-- The last line printed is the result, as JSON.
-- Without that file there is no `request` function, so wrk runs no Lua while it measures.

local function drawn_from(file)
  local requests = {}
  for line in io.lines(file) do
    local path, key = line:match('^(%S+) (%S+)$')
    requests[#requests + 1] = wrk.format(nil, path, {Host = wrk.headers.Host,
                                                     Authorization = 'Bearer ' .. key})
  end
  local random, count = math.random, #requests
  return function() return requests[random(count)] end
end

function init(args)
  wrk.method = args[1]
  local size = tonumber(args[2])
  if size == nil then
    wrk.body = io.open(args[2]):read('a')
  elseif size > 0 then
    wrk.body = string.rep('x', size)
  end
  if args[3] then request = drawn_from(args[3]) end
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    '{"requests": %d, "seconds": %.6f, "p99_ms": %.3f, "refused": %d, "broken": %d}',
    summary.requests, summary.duration / 1e6, latency:percentile(99) / 1e3, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
