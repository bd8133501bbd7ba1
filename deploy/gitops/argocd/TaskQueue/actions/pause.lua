-- Workers take nothing more from any of its queues; what they run, they finish.
for _, queue in ipairs(obj.spec.queues) do
  if queue.paused == nil then
    queue.paused = {reason = "paused in Argo CD"}
  end
end
return obj
