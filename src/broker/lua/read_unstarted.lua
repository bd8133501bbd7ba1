-- read_unstarted: of the oldest pending tasks, those whose message names a time to begin by. Nothing is changed.
-- KEYS[1] list pending
-- ARGV[1] string task-key prefix   ARGV[2] int tasks at most   ARGV[3] string name of the header with that time
-- ARGV[4] int bytes of one message at most   ARGV[5] int bytes of messages looked at in all
-- Returns: array, per task: id, message
local ids = redis.call('LRANGE', KEYS[1], -tonumber(ARGV[2]), -1)
local reply, bytes = {}, 0
for i = #ids, 1, -1 do
  local task = ARGV[1] .. ids[i]
  local size = redis.call('HSTRLEN', task, 'msg')
  if size <= tonumber(ARGV[4]) then
    bytes = bytes + size
    if bytes > tonumber(ARGV[5]) then break end
    local message = redis.call('HGET', task, 'msg') or ''
    if string.find(message, ARGV[3], 1, true) then
      reply[#reply + 1], reply[#reply + 2] = ids[i], message
    end
  end
end
return reply
