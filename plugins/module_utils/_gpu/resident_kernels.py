# Copyright (c) 2026, the gpufleet authors
# GNU General Public License v3.0 or later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernels that run while the host and other kernels do something else, as PTX.

They wait by looking at memory, a bounded number of times: whatever happens, they end by themselves.
"""

from __future__ import annotations

from .mix64_ptx import mix64_ptx

PING_PONG_PAYLOAD_WORDS = 32
PING_PONG_BYTES = 8 * (1 + PING_PONG_PAYLOAD_WORDS)
# Why a ping_pong kernel ended before its last round.
GAVE_UP = 1
GATE_STAYED_SHUT = 2

PING_PONG = f"""
// One thread on each GPU. A buffer is a flag word and {PING_PONG_PAYLOAD_WORDS} payload words.
// host is two words of mapped host memory: the kernel says in the first that it runs, and begins
// once the host has written the second, at most host_limit looks later; the host writes when both
// run, so that spin_limit, the looks for one turn, is all the link's.
// result: rounds completed, payload mismatches, 0 or why it ended early ({GAVE_UP}: spin_limit ran
// out; {GATE_STAYED_SHUT}: host_limit did), nanoseconds from the end of round 1 to the last.
.visible .entry ping_pong(
    .param .u64 mine, .param .u64 theirs, .param .u64 rounds, .param .u64 leader,
    .param .u64 result, .param .u64 spin_limit, .param .u64 host, .param .u64 host_limit)
{{
    .reg .pred %test, %leads;
    .reg .u64 %mine, %theirs, %rounds, %leader, %result, %limit, %host, %patience;
    .reg .u64 %round, %completed, %bad, %gave_up, %begin, %end;
    .reg .u64 %k, %word, %scratch, %address, %found, %flag, %spins;
    ld.param.u64 %mine, [mine];
    cvta.to.global.u64 %mine, %mine;
    ld.param.u64 %theirs, [theirs];
    cvta.to.global.u64 %theirs, %theirs;
    ld.param.u64 %rounds, [rounds];
    ld.param.u64 %leader, [leader];
    ld.param.u64 %result, [result];
    cvta.to.global.u64 %result, %result;
    ld.param.u64 %limit, [spin_limit];
    ld.param.u64 %host, [host];
    cvta.to.global.u64 %host, %host;
    ld.param.u64 %patience, [host_limit];
    mov.u64 %round, 1;
    mov.u64 %completed, 0;
    mov.u64 %bad, 0;
    mov.u64 %gave_up, 0;
    mov.u64 %spins, 0;
    mov.u64 %begin, %globaltimer;
    setp.ne.u64 %leads, %leader, 0;
    st.release.sys.global.u64 [%host], %round;
HOLD:
    ld.acquire.sys.global.u64 %flag, [%host+8];
    setp.ne.u64 %test, %flag, 0;
    @%test bra ROUND;
    add.u64 %spins, %spins, 1;
    setp.lt.u64 %test, %spins, %patience;
    @%test bra HOLD;
    mov.u64 %gave_up, {GATE_STAYED_SHUT};
    bra FINISH;
ROUND:
    setp.gt.u64 %test, %round, %rounds;
    @%test bra FINISH;
    @%leads bra SEND;
RECEIVE:
    mov.u64 %spins, 0;
SPIN:
    ld.acquire.sys.global.u64 %flag, [%mine];
    setp.ge.u64 %test, %flag, %round;
    @%test bra ARRIVED;
    add.u64 %spins, %spins, 1;
    setp.lt.u64 %test, %spins, %limit;
    @%test bra SPIN;
    mov.u64 %gave_up, {GAVE_UP};
    bra FINISH;
ARRIVED:
    mov.u64 %k, 0;
CHECK:
    shl.b64 %word, %round, 6;
    add.u64 %word, %word, %k;{mix64_ptx("%word", "%scratch")}
    shl.b64 %address, %k, 3;
    add.u64 %address, %address, %mine;
    ld.global.u64 %found, [%address+8];
    setp.eq.u64 %test, %found, %word;
    @%test bra CHECKED;
    add.u64 %bad, %bad, 1;
CHECKED:
    add.u64 %k, %k, 1;
    setp.lt.u64 %test, %k, {PING_PONG_PAYLOAD_WORDS};
    @%test bra CHECK;
    @%leads bra COMPLETE;
SEND:
    mov.u64 %k, 0;
WRITE:
    shl.b64 %word, %round, 6;
    add.u64 %word, %word, %k;{mix64_ptx("%word", "%scratch")}
    shl.b64 %address, %k, 3;
    add.u64 %address, %address, %theirs;
    st.global.u64 [%address+8], %word;
    add.u64 %k, %k, 1;
    setp.lt.u64 %test, %k, {PING_PONG_PAYLOAD_WORDS};
    @%test bra WRITE;
    st.release.sys.global.u64 [%theirs], %round;
    @%leads bra RECEIVE;
COMPLETE:
    setp.ne.u64 %test, %completed, 0;
    @%test bra TIMED;
    mov.u64 %begin, %globaltimer;
TIMED:
    add.u64 %completed, %completed, 1;
    add.u64 %round, %round, 1;
    bra ROUND;
FINISH:
    mov.u64 %end, %globaltimer;
    sub.u64 %end, %end, %begin;
    st.global.u64 [%result], %completed;
    st.global.u64 [%result+8], %bad;
    st.global.u64 [%result+16], %gave_up;
    st.global.u64 [%result+24], %end;
    ret;
}}
"""

GATE = """
// Holds a stream until the host writes *flag (mapped host memory), at most spin_limit looks.
.visible .entry gate(.param .u64 flag, .param .u64 spin_limit)
{
    .reg .pred %test;
    .reg .u32 %value;
    .reg .u64 %flag, %limit, %spins;
    ld.param.u64 %flag, [flag];
    cvta.to.global.u64 %flag, %flag;
    ld.param.u64 %limit, [spin_limit];
    mov.u64 %spins, 0;
SPIN:
    ld.acquire.sys.global.u32 %value, [%flag];
    setp.ne.u32 %test, %value, 0;
    @%test bra OPEN;
    add.u64 %spins, %spins, 1;
    setp.lt.u64 %test, %spins, %limit;
    @%test bra SPIN;
OPEN:
    ret;
}
"""
