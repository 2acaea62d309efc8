#!/usr/bin/perl

# `ngx_tailnet_core status | whois | netcheck | ping | path` beside what a real
# tailscaled says of the same tailnet; orders; who may ask; and what nonsense
# does to the core.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use IO::Socket::UNIX;
use JSON::PP;
use Socket qw(SOCK_SEQPACKET);
use Test::More;
use Time::HiRes qw(sleep time);

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $lab = Tailnet::Lab->new;
my $tailnet = $lab->small_tailnet;
my $peer = $tailnet->{peer};

my $gone = $lab->tailscaled(host => $lab->host('gone'));
$gone->up(control => $tailnet->{control}, auth_key => $tailnet->{auth_key});
$gone->cli('down');

my $nginx = $lab->nginx(host => $tailnet->{web}, module => 1);
my $auth_key = $tailnet->{auth_key};

$nginx->configure(
    main => $nginx->tailnet_block($tailnet->{control}, $auth_key),
    http => 'server { listen 80 tailnet=home; }');
$nginx->write('html/index.html', "page\n");
$nginx->start;

my $program = $lab->path('modules') . '/ngx_tailnet_core';
my $run = $nginx->run_dir;

$peer->wait_peer('web', 20);
is($peer->wait_get('http://web/', seconds => 15)->{body}, "page\n",
   'nginx is on the tailnet') or diag($nginx->error_log);
ok(eval { $peer->wait_path('web', qr/direct/, 15) }, 'and directly reached');


# (exit status, output) of a command that looks at the core

sub tool {
    my ($command, @args) = @_;
    return Tailnet::Lab::capture($program, $command, '--run', $run, @args);
}


sub tool_json {
    my (@args) = @_;
    my ($status, $output) = tool(@args, '--json');

    is($status, 0, "@args --json") or diag($output);

    return eval { decode_json($output) } // {};
}


sub tool_quiet {
    my (undef, $output) = tool(@_, '--json');
    return decode_json($output);
}


sub find_peer {
    my ($json, $label) = @_;
    my ($found) = grep { $_->{name} =~ /^\Q$label\E\./ }
        @{$json->{nodes}[0]{peers} // []};

    return $found // {};
}


# What changes by itself is compared once both sides agree: control
# takes a while to call a node offline, and a peer to hear of a home relay.

sub settled {
    my (undef, $output) = tool('status', '--json');
    my $ours = eval { decode_json($output) } // return 'no answer';
    my ($p, $g) = map { find_peer($ours, $_) } 'peer', 'gone';
    my $web = $peer->peer('web');
    my $endpoints = $peer->status->{Self}{Addrs} // [];
    my $address = $p->{path}{address} // '';

    return 'gone is online for tailscaled' if $peer->peer('gone')->{Online};
    return 'gone is online' if $g->{online};
    return 'peer is offline' unless $p->{online};
    return 'the home relay'
        if ($ours->{nodes}[0]{home_derp}{code} // '') ne ($web->{Relay} // '');
    return 'no endpoint of it: ' . ($address || 'none')
        unless grep { $_ eq $address } @$endpoints;
    return 'no latency' unless defined $p->{path}{latency_ms};

    return;
}

my $unsettled = 'nothing asked';
eval { $lab->wait_for(30, 'agreement', sub { !($unsettled = settled()) }) };
is($unsettled, undef, 'status agrees with tailscaled');


subtest 'status as tailscaled sees it' => sub {
    my $ours = tool_json('status');
    my $theirs = $peer->status;
    my ($node) = @{$ours->{nodes}};
    my $web = $peer->peer('web');

    is(scalar @{$ours->{nodes}}, 1, 'one node');
    is($node->{node}, 'home', 'called as in nginx.conf');
    is($node->{state}, 'running', 'its state');
    ok($node->{online}, 'control is connected');
    is($node->{name}, $web->{DNSName}, 'its name');
    is($node->{key}, $web->{PublicKey}, 'its public key');
    is_deeply([sort @{$node->{addresses}}], [sort @{$web->{TailscaleIPs}}],
              'its addresses');
    is($node->{home_derp}{code}, $web->{Relay}, 'its home relay');

    is(scalar @{$node->{peers}}, 2, 'two peers');

    my $p = find_peer($ours, 'peer');
    my $self = $theirs->{Self};

    is($p->{name}, $self->{DNSName}, "a peer's name");
    is($p->{id}, $self->{ID}, 'its id');
    is($p->{key}, $self->{PublicKey}, 'its public key');
    is_deeply([sort @{$p->{addresses}}], [sort @{$self->{TailscaleIPs}}],
              'its addresses');
    is($p->{os}, $self->{OS}, 'its system');
    ok($p->{online}, 'it is online');
    is($p->{user}, $theirs->{User}{$self->{UserID}}{LoginName}, 'its user');

    is($p->{path}{kind}, 'direct', 'reached directly');
    ok((grep { $_ eq $p->{path}{address} } @{$self->{Addrs}}),
       'at one of its endpoints')
        or diag("$p->{path}{address}, not of @{$self->{Addrs}}");
    cmp_ok($p->{path}{latency_ms} // 1e9, '<', 1000, 'with a latency');
    cmp_ok($p->{received_bytes}, '>', 0, 'bytes have come');
    cmp_ok($p->{sent_bytes}, '>', 0, 'and gone');
    cmp_ok($p->{handshake_seconds_ago} // 1e9, '<', 120, 'a handshake');

    my $g = find_peer($ours, 'gone');
    my $same = $peer->peer('gone');

    is($g->{key}, $same->{PublicKey}, 'the other peer');
    is(!!$g->{online}, !!$same->{Online}, 'is as online as for tailscaled');
    ok(!$g->{online}, 'not at all');

    # it may have told its home relay before it went

    is($g->{path}{kind} // 'none', $same->{Relay} ? 'derp' : 'none',
       'no way to it but its home relay, when that is known');
};

subtest 'as text' => sub {
    my ($status, $output);
    my $ip = $peer->ip4;

    # a path may change for a moment, and a report be under way

    eval { $lab->wait_for(10, 'the peer', sub {
        ($status, $output) = tool('status');
        $output =~ /^\Q$ip\E .*online, direct /m;
    }) };

    is($status, 0, 'status');
    like($output, qr/^tailnet "home": running$/m, 'the state');
    like($output, qr/^\Q$ip\E .*online, direct /m, 'the peer');

    eval { $lab->wait_for(10, 'an endpoint', sub {
        ($status, $output) = tool('netcheck');
        $output =~ /^  UDP +yes$/m
            && $output =~ /^  endpoint +\Q@{[$tailnet->{web}->ip4]}\E:\d+ /m;
    }) };

    is($status, 0, 'netcheck');
    like($output, qr/^  UDP +yes$/m, 'UDP works');
    like($output, qr/^  endpoint +\Q@{[$tailnet->{web}->ip4]}\E:\d+ /m,
         'an endpoint');

    ($status, $output) = tool('whois', $ip);
    is($status, 0, 'whois');
    like($output, qr/^name +peer\./m, 'the name');
};

subtest 'version' => sub {
    my ($status, $output) = Tailnet::Lab::capture($program, '--version');
    is($status, 0, '--version');

    my ($version) = $output =~ /^ngx_tailnet_core (\d+\.\d+\.\d+), /;
    ok($version, 'has one') or diag($output);
    is(tool_json('status')->{version}, $version, 'the running core the same');
};

subtest 'whois and netcheck' => sub {
    my ($who) = @{tool_json('whois', $peer->ip4)->{nodes}};
    my $theirs = decode_json($peer->cli('whois', '--json', $peer->ip4));

    is($who->{name}, $theirs->{Node}{Name}, 'the name');
    is($who->{user}, $theirs->{UserProfile}{LoginName}, 'the user');
    ok(!$who->{self}, 'somebody else');

    ($who) = @{tool_json('whois', '[' . $peer->ip6 . ']:1234')->{nodes}};
    is($who->{name}, $theirs->{Node}{Name}, 'by address and port');

    ($who) = @{tool_json('whois', 'peer')->{nodes}};
    is($who->{name}, $theirs->{Node}{Name}, 'by name');

    my ($status, $output) = tool('whois', '192.0.2.1');
    is($status, 1, 'an address of nobody');
    like($output, qr/nobody/, 'is said to be that');

    my ($check) = @{tool_json('netcheck')->{nodes}};
    is($check->{udp}, JSON::PP::true, 'UDP works');
    ok((grep { ($_->{latency_ms} // -1) >= 0 } @{$check->{latencies}}),
       'the relay was measured');
};

subtest 'ping' => sub {
    my ($pinged) = @{tool_json('ping', 'peer')->{nodes}};
    my $pong = $pinged->{pong} // {};

    is($pong->{kind}, 'direct', 'the pong came directly');
    ok((grep { $_ eq $pong->{address} } @{$peer->status->{Self}{Addrs}}),
       'from one of its endpoints') or diag($pong->{address});
    cmp_ok($pong->{latency_ms} // 1e9, '<', 1000, 'soon');

    my ($status, $output) = tool('ping', $peer->ip4);
    is($status, 0, 'by address');
    like($output, qr/^pong from peer\.\S+ via \S+:41641 in [\d.]+ ms$/,
         'as text');

    ($pinged) = @{tool_json('ping', '--tsmp', 'peer')->{nodes}};
    $pong = $pinged->{pong} // {};

    is($pong->{kind}, 'direct', 'tailscaled answers TSMP');
    cmp_ok($pong->{latency_ms} // 1e9, '<', 1000, 'soon');
    is((tool('ping', '--tsmp', 'gone'))[0], 1, 'not when it is offline');
    is((tool('status', '--tsmp'))[0], 2, 'an option of ping only');

    ($pinged) = @{tool_json('ping', '--icmp', 'peer')->{nodes}};
    $pong = $pinged->{pong} // {};

    is($pong->{kind}, 'direct', 'its kernel answers ICMP');
    cmp_ok($pong->{latency_ms} // 1e9, '<', 1000, 'soon');
    is((tool('ping', '--icmp', 'gone'))[0], 1, 'not when it is offline');

    is((tool('ping', 'gone'))[0], 1, 'one that is offline does not answer');
    is((tool('ping', 'web'))[0], 1, 'nor does this node itself');
    is((tool('ping', 'nobody'))[0], 1, 'nor does nobody');
};

subtest 'connections' => sub {
    tool('conns');

    my $got = $peer->get('http://web/', args => ['--local-port', '45678']);
    is($got->{body}, "page\n", 'a request');

    my ($node) = @{tool_json('conns')->{nodes}};
    my ($ip) = grep { !/:/ } @{$peer->peer('web')->{TailscaleIPs}};
    my ($conn) = grep { ($_->{dst} // '') =~ /:45678$/ }
        @{$node->{virtualTraffic}};

    ok($conn, 'is counted') or diag(explain($node));
    is($conn->{proto}, 'tcp', 'as TCP');
    is($conn->{src}, "$ip:80", 'to our port');
    like($conn->{peer}, qr/^peer\b/, 'of the peer');
    cmp_ok($conn->{rxPkts}, '>=', 4, 'packets in');
    cmp_ok($conn->{rxBytes}, '>', 4 * 52, 'and their bytes');
    cmp_ok($conn->{txPkts}, '>=', 3, 'packets out');
    cmp_ok($conn->{txBytes}, '>', 3 * 52 + 100, 'and theirs');

    # One side may send by IPv4 while the other sends by IPv6.

    my @ways = grep { ($_->{dst} // '') =~ /:41641$/ }
        @{$node->{physicalTraffic}};
    my $received = 0;
    $received += $_->{rxBytes} for @ways;

    ok(scalar @ways, 'with the way it went') or diag(explain($node));
    is_deeply([grep { $_->{src} ne $peer->ip4 } @ways], [], 'to the peer');
    cmp_ok($received, '>=', $conn->{rxBytes} + 32 * $conn->{rxPkts},
           "with WireGuard's part") or diag(explain($node));
    is($node->{left_out}, 0, 'nothing left out');

    my ($status, $output) = tool('conns', '--seconds', 1);
    is($status, 0, 'as text, after a second');
    like($output, qr/^  tcp   \Q$ip\E:80 - \S+:45678 \(peer/m, 'the same');
};

subtest 'pinged by tailscaled' => sub {
    for my $kind ('', '--tsmp', '--icmp') {
        my $said = eval { $peer->cli('ping', '--c=3', '--timeout=5s',
                                     ($kind) x !!$kind, 'web') } // $@;

        like($said, qr/^pong from web/m, $kind || 'disco');
    }
};

subtest 'over a relay' => sub {
    $tailnet->{web}->block_udp;
    $peer->wait_path('web', qr/derp/, 30);

    my $p = {};
    eval {
        $lab->wait_for(15, 'the relay', sub {
            my (undef, $output) = tool('status', '--json');
            $p = find_peer(decode_json($output), 'peer');
            $p->{path}{kind} eq 'derp';
        });
    };

    is($p->{path}{kind}, 'derp', 'status says so');

    my ($pinged) = @{tool_json('ping', 'peer')->{nodes}};
    is($pinged->{pong}{kind}, 'derp', 'and so does ping');
    is($p->{path}{derp}{code}, $peer->status->{Self}{Relay}, 'and which one');
    $tailnet->{web}->unblock_udp;
};

subtest 'orders' => sub {
    my ($shown) = @{tool_json('path', 'peer')->{nodes}};
    my @history = @{$shown->{history} // []};

    ok((grep { $_->{kind} eq 'direct' && $_->{address} } @history),
       'the way to the peer was direct');
    ok((grep { $_->{kind} eq 'derp' && $_->{derp}{code} } @history),
       'and over the relay');
    is((grep { !$_->{why} || $_->{seconds_ago} < 0 } @history), 0,
       'each change has its reason and time')
        or diag(explain(\@history));
    like((tool('path', 'peer'))[1], qr/ s ago  direct \S+:41641 .*: \w/,
         'as text');

    my $report = sub {
        return eval { (tool_quiet('netcheck')->{nodes}[0]) } // {};
    };

    my ($first) = @{tool_json('restun')->{nodes}};
    my $reports = 0;
    ok($first->{done}, 'restun');
    ok(eval { $lab->wait_for(15, 'a report', sub {
        $reports = tool_quiet('restun')->{nodes}[0]{reports};
        $reports > $first->{reports} }) }, 'makes new reports')
        or diag("$reports after $first->{reports}");

    # nothing has changed that control would be told

    my $age = $report->()->{age_seconds};
    ok(eval { $lab->wait_for(15, 'a young report', sub {
        tool_quiet('restun');
        my $now = $report->()->{age_seconds};
        my $younger = $now < $age;
        $age = $now;
        return $younger }) }, 'netcheck tells the age of the last one');

    my $code = $report->()->{home_derp}{code};
    is((tool('home', $code))[0], 0, 'home is there by order');
    is((tool('home', 'auto'))[0], 0, 'and is chosen again');
    is((tool('home', 'nowhere'))[0], 1, 'there is no such region');

    is((tool('break', $code))[0], 0, 'the relay is cut off');
    ok(eval { $lab->wait_for(15, 'the relay', sub {
        (tool('break', $code))[0] == 0 }) }, 'and connected again');
    is((tool('break', 'nowhere'))[0], 1, 'one that is not there is not');

    is((tool('poke'))[0], 0, 'poke');

    my $ports = sub {
        return join ' ', sort map { $_->{address} =~ /(\d+)$/ }
            @{$report->()->{endpoints} // []};
    };
    my $before = $ports->();

    is((tool('rebind'))[0], 0, 'rebind');
    ok(eval { $lab->wait_for(15, 'ports', sub {
        my $now = $ports->(); $now ne '' && $now ne $before }) },
       'gives another port') or diag("$before, " . $ports->());
    is($peer->wait_get('http://web/', seconds => 15)->{body}, "page\n",
       'nginx serves after all that');
};

subtest 'who may ask' => sub {
    my ($mode, $owner) = (stat "$run/dial.sock")[2, 4];
    my ($other) = grep { $_ != $owner } map { scalar getpwnam $_ }
        qw(www-data nobody);

    my @as = ('setpriv', '--clear-groups', '--regid=nogroup');
    my ($status, $output) = Tailnet::Lab::capture(@as, "--reuid=$other",
        $program, 'status', '--run', $run);

    is($mode & 07777, 0600, 'the socket is for one user');
    isnt($owner, 0, "nginx's, who is not root");
    is($status, 1, 'another user may not ask');
    like($output, qr/Permission denied/, 'by permission');
    unlike($output, qr/100\.64/, 'and learns nothing');

    ($status, $output) = Tailnet::Lab::capture(@as, "--reuid=$owner",
        $program, 'status', '--run', $run);
    is($status, 0, "nginx's user may") or diag($output);

    my (undef, $json) = tool('status', '--json');
    unlike($json, qr/privkey|\Q$auth_key\E/, 'no secret is shown');
};

subtest 'wrong uses' => sub {
    my ($status, $usage) = Tailnet::Lab::capture($program);

    is($status, 2, 'no command');
    like($usage, qr/ngx_tailnet_core $_\b/, "which $_ is one of")
        for qw(status capture logout node --version);
    is((tool('whois'))[0], 2, 'no argument');
    is((tool('status', 'x'))[0], 2, 'one too many');
    is((tool('status', '--nonsense'))[0], 2, 'an unknown option');
    is((tool('status', '--node', 'other'))[0], 1, 'an unknown node');
    is((Tailnet::Lab::capture($program, 'status', '--run', '/nonexistent'))[0],
       1, 'no core');
};

subtest 'nonsense' => sub {
    my ($core) = $tailnet->{web}->processes('tailnet-core');
    my $memory = memory($core);
    my $files = files($core);
    my $begin = time();
    my @open;

    my ($version) = (Tailnet::Lab::capture($program, 'version'))[1]
        =~ /messages of version (\d+)/;

    # head: magic, version, type, length, sequence; then command, node, text
    my $tool_type = 18;
    my $tool_len = 16 + 8 + 64 + 256;
    my $head = sub { pack 'LSSLL', 0x746e6970, $version, $_[0], $_[1], 7 };
    my $status = $head->($tool_type, $tool_len) . pack('LL', 1, 0)
        . "\0" x 320;

    my $s = ask($status);
    my $answer = '';
    $s->recv($answer, 65536);
    is((unpack 'LSS', $answer)[2], $tool_type + 1,
       'the test speaks the language');

    for my $n (1 .. 300) {
        ask(join '', map { chr rand 256 } 1 .. 1 + rand 5000);
        ask($head->($tool_type, $tool_len) . 'x' x ($tool_len - 16));
        ask($head->($tool_type, $tool_len) . pack('LL', 99, 0) . "\0" x 320);
        ask($status);
    }

    # asked for and not read, and nothing asked
    push @open, ask($_ % 2 ? $status : undef) for 1 .. 200;

    sleep(0.5);
    cmp_ok(memory($core) - $memory, '<', 16 * 1024, 'memory stays (KiB)');
    is($peer->get('http://web/', timeout => 5)->{body}, "page\n",
       'nginx serves meanwhile');

    undef $s;
    @open = ();

    my ($rc) = tool('status');
    is($rc, 0, 'status works after it');
    ok(eval { $lab->wait_for(15, 'files', sub { files($core) <= $files }) },
       'no descriptor is left') or diag(files($core) . " > $files");
    ok(-d "/proc/$core", 'it is the same core');
    note(sprintf 'took %.1f s', time() - $begin);
};

unlike($nginx->error_log, qr/core .*exited|\[(?:alert|emerg)\]/,
       'nothing bad in the log');

done_testing();


sub ask {
    my ($bytes) = @_;
    my $s = IO::Socket::UNIX->new(Type => SOCK_SEQPACKET,
                                  Peer => "$run/dial.sock")
        or die "dial.sock: $!";

    $s->send($bytes) if defined $bytes;

    return $s;
}

sub memory {
    my ($pid) = @_;
    return ($lab->read_file("/proc/$pid/status") =~ /^VmRSS:\s+(\d+)/m)[0];
}

sub files {
    my ($pid) = @_;
    return scalar(() = glob "/proc/$pid/fd/*");
}
