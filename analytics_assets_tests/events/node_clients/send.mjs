// node send.mjs segment|rudder BASE WRITE_KEY COUNT PAUSE_MS [OPTIONS]: sends so many events one after the other, and ends with 0
// when the client says that all are delivered.
import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'

const require = createRequire(import.meta.url)
const [kind, base, key, count, pause, options] = process.argv.slice(2)
const failures = []

async function segment() {
  const { Analytics } = require('@segment/analytics-node')
  const client = new Analytics({ writeKey: key, host: base, flushAt: 10, flushInterval: 500, ...JSON.parse(options ?? '{}') })
  client.on('error', (error) => failures.push(error))
  client.identify({ userId: 'segment-node', traits: { email: 'node@example.com' } })
  client.page({ userId: 'segment-node', name: 'Home', properties: { url: 'https://shop.example/' } })
  for (let n = 0; n < Number(count); n++) {
    client.track({ userId: 'segment-node', event: 'Counted', properties: { n, client: 'segment-node' } })
    await sleep(Number(pause))
  }
  await client.closeAndFlush()
}

async function rudder() {
  const Analytics = require('@rudderstack/rudder-sdk-node')
  const client = new Analytics(key, {
    dataPlaneUrl: base, flushAt: 10, flushInterval: 500, logLevel: 'none', ...JSON.parse(options ?? '{}'),
  })
  const sent = []
  const send = (call, message) => sent.push(new Promise((done) => client[call](message, (error) => {
    if (error) failures.push(error)
    done()
  })))
  // Where a flush that nobody waits for fails, its promise is rejected; the callbacks say so as well.
  process.on('unhandledRejection', (error) => failures.push(error))
  send('identify', { userId: 'rudder-node', traits: { email: 'node@example.com' } })
  send('page', { userId: 'rudder-node', name: 'Home', properties: { url: 'https://shop.example/' } })
  for (let n = 0; n < Number(count); n++) {
    send('track', { userId: 'rudder-node', event: 'Counted', properties: { n, client: 'rudder-node' } })
    await sleep(Number(pause))
  }
  while (client.queue.length) await client.flush()
  await Promise.all(sent)
}

await { segment, rudder }[kind]()
if (failures.length) {
  console.error(failures.length, 'failures:', String(failures[0]))
  process.exit(1)
}
process.exit(0)
