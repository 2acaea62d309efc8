#!/usr/bin/perl

# nginx as a peer relay: two real tailscaleds whose UDP to each other is
# dropped find each other through it, and what they send passes there.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $PORT = 7777;

my $lab = Tailnet::Lab->new;
my $tailnet = $lab->small_tailnet(testcontrol => 1,
                                  control => { args => ['-peer-relay'] });
my $peer = $tailnet->{peer};

my $other = $lab->tailscaled(host => $lab->host('other'));
$other->up(control => $tailnet->{control}, auth_key => $tailnet->{auth_key});

for my $pair ([$peer, $other], [$other, $peer]) {
    my ($host, $far) = map { $_->host } @$pair;

    $host->nft(sprintf <<'RULES', $far->ip4, $far->ip6);
table inet lab_apart {
    chain in { type filter hook input priority 0;
               meta l4proto udp ip saddr %s drop;
               meta l4proto udp ip6 saddr %s drop; }
}
RULES
}

my $nginx = $lab->nginx(host => $tailnet->{web}, module => 1);

$nginx->configure(
    main => $nginx->tailnet_block($tailnet->{control}, $tailnet->{auth_key},
                                  extra => "peer_relay_port $PORT;"),
    http => 'server { listen 80 tailnet=home; }');
$nginx->write('html/index.html', "page\n");
$nginx->start;

$_->wait_peer('web', 20) for $peer, $other;
is($_->wait_get('http://web/', seconds => 20)->{body}, "page\n",
   $_->host->name . ' reaches nginx') or diag($nginx->error_log)
    for $peer, $other;

my ($node) = $tailnet->{control}->node('web');
ok($node->{Hostinfo}{PeerRelay}, 'control is told of the relay');


# What "tailscale status" calls the relay's place, "ADDRESS:PORT:vni:N".

sub place {
    return $peer->peer('other')->{PeerRelay} // '';
}


my $begin = time();
my $place = eval {
    $lab->wait_for(30, 'a place on the relay', sub {
        $peer->ping('other', 2);
        return place();
    });
} // '';

like($place, qr/:$PORT:vni:\d+$/, 'the path is a place on the relay')
    or diag($@, $peer->cli('status'), $nginx->error_log);
note(sprintf '%s after %.1f s', $place, time() - $begin);

my $address = $place =~ s/:\d+:vni:\d+$//r;
ok((grep { $address eq $_ } $tailnet->{web}->ip4,
    '[' . $tailnet->{web}->ip6 . ']'), 'at an address of nginx');

my (undef, $output) = $peer->try_cli('ping', '--c=3', '--until-direct=false',
                                     '--timeout=5s', 'other');
like($output, qr/via peer-relay\(\Q$address\E:$PORT:vni:\d+\)/,
     'a ping goes through it');


# Payload, too: counted where it passes.

$tailnet->{web}->nft(<<"RULES");
table inet lab_count {
    chain in { type filter hook input priority 0;
               udp dport $PORT counter; }
}
RULES

my $size = 4 * 1024 * 1024;

$lab->run('dd', 'if=/dev/zero', 'of=' . $tailnet->{peer_web}->prefix
          . '/html/big', 'bs=1M', 'count=4', 'status=none');
is($other->get('http://' . $peer->ip4 . '/big', timeout => 30)->{size},
   $size, '4 MB from one to the other');

my (undef, $rules) = $tailnet->{web}->capture('nft', 'list', 'table', 'inet',
                                              'lab_count');
my ($bytes) = $rules =~ /counter packets \d+ bytes (\d+)/;
cmp_ok($bytes // 0, '>', $size, 'passed the relay');
like(place(), qr/:$PORT:vni:\d+$/, 'and the path is the same');


# What it carries is counted.

my @tool = ($lab->path('modules') . '/ngx_tailnet_core', 'status', '--run',
            $nginx->run_dir);
my (undef, $status) = Tailnet::Lab::capture(@tool, '--json');

# There may be more than the one: of each peer with nginx itself.

my $relay = JSON::PP->new->decode($status)->{nodes}[0]{peer_relay};
is($relay->{port}, $PORT, 'status tells of the relay') or diag($status);
ok($relay->{sessions} >= 1 && $relay->{sessions} <= 3, 'of its sessions')
    or diag($status);
cmp_ok($relay->{places}, '>=', $relay->{sessions}, 'and of its places');

(undef, $status) = Tailnet::Lab::capture(@tool);
like($status, qr/^  peer relay port $PORT, sessions [123] of \d+ places$/m,
     'in words, too');


done_testing();
