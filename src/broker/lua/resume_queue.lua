-- resume_queue: let a queue be claimed again.
-- KEYS[1] string paused   KEYS[2] hash pause note
-- ARGV[1] string source whose pauses alone are lifted, or '' for any
-- Returns: 1 (lifted), 0 (was not paused) or -1 (paused by somebody else)
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('DEL', KEYS[2])
  return 0
end
local note = redis.call('HMGET', KEYS[2], 'source', 'since')
-- A note counts only for the pause it describes.
local source = note[2] == redis.call('GET', KEYS[1]) and note[1] or false
if ARGV[1] ~= '' and source ~= ARGV[1] then return -1 end
redis.call('DEL', KEYS[1], KEYS[2])
return 1
