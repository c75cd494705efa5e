// Calls each method of @nftstorage/ipfs-cluster, with its options, against the REST API
// at $API; $GUARDED is another that asks for the password of $CREDENTIALS.
import assert from 'node:assert/strict'
import { score } from './cases.mjs'

const lib = await import(process.env.CLIENT)
const { CID } = await import(process.env.MODULES + '/multiformats/dist/src/index.js')
const { sha256 } = await import(process.env.MODULES + '/multiformats/dist/src/hashes/sha2.js')
const cbor = await import(process.env.MODULES + '/@ipld/dag-cbor/src/index.js')

const cluster = new lib.Cluster(process.env.API)
const foo = 'bafkreibme22gw2h7y2h7tg2fhqotaqjucnbc24deqo72b6mkl2egezxhvy'
const peers = await cluster.peerList()
const me = (await cluster.info()).id
const added = async (text, options) => (await cluster.add(new File([text], 'f.txt'), options)).cid
const everyPeer = (status, allowed) => {
  assert.equal(Object.keys(status.peerMap).length, 3)
  for (const p of Object.values(status.peerMap)) {
    assert.ok(allowed.includes(p.status), p.status)
    assert.match(p.peerName, /^peer/)
    assert.match(p.ipfsPeerId, /^12D3/)
    assert.ok(p.timestamp > new Date(0))
    assert.equal(p.error, '')
  }
}
// What a Blob without a name is called: Node's own FormData sends "undefined" for the
// undefined name that the client gives it, browsers and polyfills send "blob".
const blobName = await (async () => { const f = new FormData(); f.append('file', new Blob(['x']), undefined); return f.get('file').name })()
const held = ['pinned', 'pinning', 'pin_queued']

// A CARv1 of two blocks under one root, and what they are.
async function car () {
  const block = async (value) => { const bytes = cbor.encode(value); return { bytes, cid: CID.createV1(cbor.code, await sha256.digest(bytes)) } }
  const varint = (n) => n < 128 ? [n] : [n & 127 | 128, ...varint(n >> 7)]
  const section = (...parts) => Buffer.concat([Buffer.from(varint(parts.reduce((n, p) => n + p.length, 0))), ...parts])
  const leaf = await block({ hello: 'world' })
  const root = await block({ to: 'world', message: leaf.cid })
  const bytes = Buffer.concat([section(cbor.encode({ version: 1, roots: [root.cid] })), ...[root, leaf].map(b => section(b.cid.bytes, b.bytes))])
  return { blob: new Blob([bytes], { type: 'application/car' }), root: root.cid.toString(), size: leaf.bytes.length + root.bytes.length }
}

const cases = {
  version: async () => assert.match(await cluster.version(), /^\d+\.\d+/),
  info: async () => {
    const info = await cluster.info()
    assert.equal(info.peerName, 'peer1')
    assert.equal(info.clusterPeers.length, 3)
    assert.ok(info.addresses.length > 0 && info.clusterPeersAddresses.length > 0)
    assert.ok(info.ipfs.id && info.ipfs.addresses.length > 0)
    assert.equal(info.error, '')
    assert.ok(info.rpcProtocolVersion)
  },
  peerList: async () => assert.deepEqual(peers.map(p => p.peerName).sort(), ['peer1', 'peer2', 'peer3']),
  metricNames: async () => assert.ok((await cluster.metricNames()).includes('freespace')),
  'add a file': async () => {
    const result = await cluster.add(new File(['foo'], 'foo.txt'))
    assert.deepEqual([result.name, result.cid, result.size], ['foo.txt', foo, 3])
  },
  'add a blob, a CAR among them, as it is': async () => {
    const { blob } = await car()
    const result = await cluster.add(blob)
    assert.equal(result.name, blobName)
    assert.equal(result.size, blob.size)
  },
  'add what is no file': async () => assert.rejects(cluster.add('foo'), /invalid file/),
  'add with pin options': async () => {
    const expireAt = new Date(Date.now() + 3600e3)
    const cid = await added('with options', { name: 'opts', metadata: { a: 'b' }, replicationFactorMin: 1, replicationFactorMax: 2, userAllocations: [me], expireAt })
    const pin = await cluster.allocation(cid)
    assert.deepEqual([pin.name, pin.metadata, pin.replicationFactorMin, pin.replicationFactorMax], ['opts', { a: 'b' }, 1, 2])
    assert.ok(pin.allocations.includes(me))
    assert.ok(Math.abs(pin.expireAt - expireAt) < 2000)
  },
  'add with cidVersion 0': async () => assert.match(await added('hello\n', { cidVersion: 0, rawLeaves: false }), /^QmZULk/),
  'add with rawLeaves false': async () => assert.match(await added('foo', { rawLeaves: false }), /^bafybei/),
  'add with a chunker': async () => assert.notEqual(await added('x'.repeat(4000), { chunker: 'size-1024' }), await added('x'.repeat(4000))),
  'add with a layout': async () => assert.ok(await added('x'.repeat(4000), { layout: 'trickle', chunker: 'size-16' })),
  'add with a hash': async () => assert.match(await added('foo', { hashFun: 'sha2-512' }), /^bafkrg/),
  'add with local, recursive, hidden, wrap': async () => assert.equal(await added('foo', { local: true, recursive: true, hidden: true, wrap: true }), foo),
  'add with streamChannels': async () => assert.equal(await added('foo', { streamChannels: true }), foo),
  'add with progress': async () => assert.ok((await cluster.add(new File(['foo'], 'foo.txt'), { progress: true })).bytes),
  'add with noCopy': async () => assert.equal(await added('foo', { noCopy: true }), foo),
  'add with shard': async () => assert.ok(await added('foo', { shard: true, shardSize: 1e8 })),
  'add with a bad option': async () => assert.rejects(added('foo', { chunker: 'nonsense' }), (e) => e.message.startsWith('400') && e.response.status === 400),
  addDirectory: async () => {
    const [one, two, dir] = await cluster.addDirectory([new File(['foo'], 'foo.txt'), new File(['bar'], 'bar.txt')])
    assert.deepEqual([one.name, one.size, one.cid], ['foo.txt', 3, foo])
    assert.deepEqual([two.name, two.size, two.cid], ['bar.txt', 3, 'bafkreih43yvs5w5fnp2aqya7w4q75g24gogrb3sct2qe7lsvcg3i7p4pxe'])
    assert.deepEqual([dir.name, dir.size, dir.cid], ['', 112, 'bafybeidhbfwu4j2zckkqd42azgxm7hlvjjqj7dunvv7o7c3avyrhgtvppm'])
  },
  'addDirectory of a blob': async () => {
    const { blob } = await car()
    const result = await cluster.addDirectory([blob], { name: 'a directory' })
    assert.deepEqual(result.map(r => r.name), [blobName, ''])
    assert.equal(result[0].size, blob.size)
    assert.equal((await cluster.allocation(result[1].cid)).name, 'a directory')
  },
  'addDirectory with paths': async () => assert.ok((await cluster.addDirectory([new File(['1'], 'a/b/one'), new File(['2'], 'a/two')])).some(r => r.name === 'a/b')),
  addCAR: async () => {
    const { blob, root, size } = await car()
    const result = await cluster.addCAR(blob)
    assert.deepEqual([result.name, result.cid, result.bytes], [blobName, root, size])
  },
  'addCAR with pin options': async () => {
    const { blob, root } = await car()
    await cluster.addCAR(blob, { name: 'car', metadata: { c: 'd' } })
    assert.deepEqual((await cluster.allocation(root)).metadata, { c: 'd' })
  },
  'addCAR of what is none': async () => assert.rejects(cluster.addCAR(new Blob(['foo'])), /^Error: 400/),
  'pin a CID': async () => {
    const result = await cluster.pin(foo, { name: 'named', metadata: { meta: 'data' } })
    assert.deepEqual([result.cid, result.name, result.metadata, result.mode, result.maxDepth], [foo, 'named', { meta: 'data' }, 'recursive', -1])
  },
  'pin on the fewest copies': async () => {
    const result = await cluster.pin(await added('once'), { replicationFactorMin: 1, replicationFactorMax: 1 })
    assert.deepEqual([result.replicationFactorMin, result.replicationFactorMax, result.allocations.length], [1, 1, 1])
  },
  'pin on chosen peers': async () => {
    const { cid } = await cluster.pin('bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e', { userAllocations: [me], replicationFactorMin: 1, replicationFactorMax: 1 })
    assert.deepEqual((await cluster.allocation(cid)).allocations, [me])
  },
  'pin directly': async () => {
    const dir = (await cluster.addDirectory([new File(['d'], 'direct')])).at(-1).cid
    await cluster.unpin(dir)
    assert.equal((await cluster.pin(dir, { mode: 'direct' })).mode, 'direct')
    assert.equal((await cluster.allocation(dir)).maxDepth, 0)
  },
  'pin until a time': async () => {
    const expireAt = new Date(Date.now() + 7200e3)
    assert.ok(Math.abs((await cluster.pin(await added('expires'), { expireAt })).expireAt - expireAt) < 2000)
  },
  'pin until a time that is past': async () => assert.rejects(cluster.pin(foo, { expireAt: new Date(1e12) }), /^Error: 4/),
  'pin as another': async () => {
    const from = await added('the old', { name: 'old', metadata: { v: '1' } })
    const result = await cluster.pin(await added('the new', { name: 'x' }), { pinUpdate: from })
    assert.deepEqual([result.name, result.metadata, result.pinUpdate], ['old', { v: '1' }, from])
  },
  'pin with origins and a shard size': async () => assert.equal((await cluster.pin(foo, { shardSize: 1024, origins: ['/ip4/127.0.0.1/tcp/1/p2p/' + me] })).shardSize, 1024),
  'pin a path': async () => {
    const dir = (await cluster.addDirectory([new File(['in a path'], 'deep/file')])).at(-1).cid
    assert.equal((await cluster.pin(`/ipfs/${dir}/deep/file`, { name: 'by path' })).name, 'by path')
  },
  'pin nonsense': async () => assert.rejects(cluster.pin('nonsense'), /^Error: 400/),
  status: async () => {
    const status = await cluster.status(await added('status', { name: 'seen' }))
    assert.equal(status.name, 'seen')
    everyPeer(status, held)
  },
  'status of one peer': async () => assert.deepEqual(Object.keys((await cluster.status(foo, { local: true })).peerMap), [me]),
  'status with local false': async () => everyPeer(await cluster.status(await added('not local'), { local: false }), held),
  'status of what is not pinned': async () => everyPeer(await cluster.status('bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy'), ['unpinned']),
  statusAll: async () => assert.ok((await cluster.statusAll()).length > 10),
  'statusAll with a filter': async () => {
    const pinned = await cluster.statusAll({ filter: ['pinned', 'remote'] })
    assert.ok(pinned.length > 5)
    for (const s of pinned) for (const p of Object.values(s.peerMap)) assert.ok(['pinned', 'remote'].includes(p.status))
  },
  'statusAll of some CIDs': async () => assert.deepEqual((await cluster.statusAll({ cids: [foo] })).map(s => s.cid), [foo]),
  'statusAll of one peer': async () => { for (const s of await cluster.statusAll({ local: true })) assert.deepEqual(Object.keys(s.peerMap), [me]) },
  'statusAll where nothing matches': async () => assert.deepEqual(await cluster.statusAll({ filter: ['unpin_error'] }), []),
  allocation: async () => {
    const pin = await cluster.allocation(await added('allocation', { metadata: { k: 'v' } }))
    assert.deepEqual([pin.metadata, pin.type], [{ k: 'v' }, 'pin'])
  },
  'allocation of what is not pinned': async () => assert.rejects(cluster.allocation('bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy'), /^Error: 404: Not Found/),
  recover: async () => everyPeer(await cluster.recover(await added('recover')), held),
  'recover on one peer': async () => assert.deepEqual(Object.keys((await cluster.recover(foo, { local: true })).peerMap), [me]),
  unpin: async () => {
    const cid = await added('to be unpinned')
    assert.equal((await cluster.unpin(cid)).cid, cid)
    await assert.rejects(cluster.unpin(cid), /^Error: 404/)
  },
  'unpin a path': async () => {
    const dir = (await cluster.addDirectory([new File(['unpinned by path'], 'file')])).at(-1).cid
    const { cid } = await cluster.pin(`/ipfs/${dir}/file`)
    assert.equal((await cluster.unpin(`/ipfs/${dir}/file`)).cid, cid)
  },
  'the functions beside the class': async () => {
    const at = { url: new URL(process.env.API) }
    assert.equal((await lib.add(at, new File(['foo'], 'foo.txt'))).cid, foo)
    assert.equal((await lib.pin(at, foo)).cid, foo)
    assert.equal((await lib.status(at, foo)).cid, foo)
    assert.equal((await lib.unpin(at, foo)).cid, foo)
  },
  'an aborted request': async () => assert.rejects(cluster.status(foo, { signal: AbortSignal.abort() }), /abort/i),
  'with credentials': async () => {
    const Authorization = 'Basic ' + Buffer.from(process.env.CREDENTIALS).toString('base64')
    const guarded = new lib.Cluster(process.env.GUARDED, { headers: { Authorization } })
    assert.equal((await guarded.add(new File(['foo'], 'foo.txt'))).cid, foo)
  },
  'with a token': async () => {
    const Authorization = 'Basic ' + Buffer.from(process.env.CREDENTIALS).toString('base64')
    const { token } = await (await fetch(process.env.GUARDED + '/token', { method: 'POST', headers: { Authorization } })).json()
    assert.match(await new lib.Cluster(process.env.GUARDED, { headers: { Authorization: `Bearer ${token}` } }).version(), /^\d/)
  },
  'without credentials': async () => assert.rejects(new lib.Cluster(process.env.GUARDED).version(), /^Error: 401: Unauthorized/)
}

await score('@nftstorage/ipfs-cluster', cases, {
  'add with shard': 'one DAG is not cut up between peers',
  'statusAll where nothing matches': 'the client takes 204, which is how an empty list is answered, for a fault'
}, 55)
