-- Which actions make sense for this TaskQueue.
local paused, running = false, false
for _, queue in ipairs(obj.spec.queues or {}) do
  if queue.paused ~= nil then
    paused = true
  else
    running = true
  end
end
return {
  pause = {disabled = not running},
  resume = {disabled = not paused},
}
