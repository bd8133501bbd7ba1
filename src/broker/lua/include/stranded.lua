-- stranded: what has to be known of tasks whose workers are gone, without payloads where messages are long: who
-- brings tasks back may have far less memory than who runs them.
local LONG, BYTES_MAX = 65536, 1048576

-- A message without its payload, which is protobuf's field 2; nil where none is found among the first fields.
local function slim(message)
  local at = 1
  local function varint()
    local value, unit = 0, 1
    for _ = 1, 10 do
      local byte = string.byte(message, at)
      if not byte then return nil end
      at, value = at + 1, value + byte % 128 * unit
      if byte < 128 then return value end
      unit = unit * 128
    end
  end
  for _ = 1, 32 do
    local begin, tag = at, varint()
    local kind = tag and tag % 8
    local length = kind == 2 and varint() or kind == 1 and 8 or kind == 5 and 4 or kind == 0 and varint() and 0
    if not length or at + length > #message + 1 then return nil end
    at = at + length
    if tag == 18 then return string.sub(message, 1, begin - 1) .. string.sub(message, at) end
  end
end

-- Adds to a reply: id, lease end, message or '', 1 when that is without its payload, crashes, owner or '', stop where
-- it was cancelled, else ''. Returns the length of the whole message.
local function tell(reply, prefix, id, score, owner)
  local field = redis.call('HMGET', prefix .. id, 'msg', 'cronmill_crashes')
  local message, n = field[1] or '', #reply
  local short = #message > LONG and slim(message)
  reply[n + 1], reply[n + 2], reply[n + 3], reply[n + 4] = id, score, short or message, short and '1' or '0'
  reply[n + 5], reply[n + 6] = field[2] or '0', owner or ''
  reply[n + 7] = cancelled(prefix .. id, score) == 'stop' and 'stop' or ''
  return #message
end
