#!/usr/bin/perl

# On a host whose tailscaled uses an exit node: rules as that makes them lead
# into its TUN, which nobody reads here, what is not marked. With the rules of
# docs/operating.md the node's packets do not go there, and without them they
# do.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $lab = Tailnet::Lab->new;
my $tailnet = $lab->small_tailnet;
my ($peer, $web) = @{$tailnet}{qw(peer web)};
my $nginx = $lab->nginx(host => $web, module => 1);
my $uid = getpwnam 'www-data';

$nginx->configure(
    main => "user www-data;\n"
        . $nginx->tailnet_block($tailnet->{control}, $tailnet->{auth_key},
                                extra => 'port 41642;'),
    http => 'server { listen 80 tailnet=home; return 200 "page\n"; }');


# The rules, in docs for user 33.

my ($text) = $lab->read_file("$FindBin::Bin/../docs/operating.md")
    =~ /^    for f in -4 -6; do\n(.*?)^    done$/ms;
my @rules = map { [split] }
    map { s/\b33-33\b/$uid-$uid/r } ($text // '') =~ /rule add (.*)/g;

is(scalar @rules, 3, 'docs have the rules') or BAIL_OUT('no rules');

sub rules {
    my ($verb, @rules) = @_;

    for my $rule (@rules) {
        $web->ip($_, 'rule', $verb, @$rule) for qw(-4 -6);
    }
}


# As tailscaled does it; it wants loose filtering by the reverse path, too.

$web->run('sh', '-c', 'for i in all eth0; do '
          . 'echo 2 > /proc/sys/net/ipv4/conf/$i/rp_filter; done');
$web->ip(qw(tuntap add dev tailscale0 mode tun));
$web->ip(qw(link set tailscale0 up));
$web->ip($_, qw(route add default dev tailscale0 table 52)) for qw(-4 -6);
$web->ip(qw(route add 100.100.100.100 dev tailscale0 table 52));
rules('add', [qw(pref 5210 fwmark 0x80000/0xff0000 lookup main)],
      [qw(pref 5270 lookup 52)]);

$web->nft(<<'RULES');
table inet lab_tun {
    counter of_wireguard { }
    counter of_tcp { }
    counter of_dns { }
    chain out {
        type filter hook output priority 0;
        oifname "tailscale0" udp sport 41642 counter name of_wireguard
        oifname "tailscale0" meta l4proto 6 counter name of_tcp
        oifname "tailscale0" ip daddr 100.100.100.100 counter name of_dns
    }
}
RULES

sub swallowed {
    my ($what) = @_;
    my (undef, $output) = $web->capture('nft', 'list', 'counter', 'inet',
                                        'lab_tun', "of_$what");
    return ($output =~ /packets (\d+)/)[0] // BAIL_OUT("no counter: $output");
}


rules('add', @rules);
$nginx->start;
$peer->wait_peer('web', 20);
is($peer->wait_get('http://web/', seconds => 20)->{body}, "page\n",
   'with the rules the node joins and serves') or diag($nginx->error_log);
ok(eval { $peer->wait_path('web', qr/direct/, 20) }, 'directly') or diag($@);
is(swallowed('wireguard'), 0, 'nothing of its UDP goes into the TUN');
is(swallowed('tcp'), 0, 'nor of its connections to control and the relay');

$web->run('setpriv', "--reuid=$uid", '--clear-groups', 'perl',
          '-MIO::Socket::INET', '-e', 'IO::Socket::INET->new(Proto => "udp", '
          . 'PeerAddr => "100.100.100.100", PeerPort => 53)->send("x") or die');
cmp_ok(swallowed('dns'), '>', 0, 'what is for that tailnet still does');

# One by one without them.

rules('del', $rules[0]);
$peer->get('http://web/', timeout => 2);
ok(eval { $lab->wait_for(20, 'UDP', sub { swallowed('wireguard') }) },
   'without the one for the port its UDP does, too');
is(swallowed('tcp'), 0, 'but no connection');

rules('del', @rules[1, 2]);
kill 'KILL', $web->processes('tailnet-core');
ok(eval { $lab->wait_for(20, 'TCP', sub { swallowed('tcp') }) },
   'without those for the user its connections do')
    or diag($nginx->error_log);

$nginx->stop;
done_testing();
