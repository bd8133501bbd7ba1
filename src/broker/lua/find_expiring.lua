-- find_expiring: in a stretch of the pending list, the tasks whose time to begin is over. Nothing is changed.
-- KEYS[1] list pending   KEYS[2] zset expiring
-- ARGV[1] string task-key prefix   ARGV[2] int entries from the oldest to skip   ARGV[3] int entries to look at after those
-- ARGV[4] int tasks at most   ARGV[5] int message bytes at most, or one larger message
-- Returns: array: 1 when there may be more in that stretch, then per task, the oldest first: id, message
local skip, span = tonumber(ARGV[2]), tonumber(ARGV[3])
local ids = redis.call('LRANGE', KEYS[1], -skip - span, -skip - 1)
if not ids[1] then return {0} end
local by = redis.call('ZMSCORE', KEYS[2], unpack(ids))
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local reply, bytes = {0}, 0
for i = #ids, 1, -1 do
  if by[i] and tonumber(by[i]) <= now then
    local message = redis.pcall('HGET', ARGV[1] .. ids[i], 'msg')
    if type(message) == 'string' then
      bytes = bytes + #message
      if reply[2] and (#reply > 2 * tonumber(ARGV[4]) or bytes > tonumber(ARGV[5])) then
        reply[1] = 1
        return reply
      end
      reply[#reply + 1], reply[#reply + 2] = ids[i], message
    end
  end
end
return reply
