#!/usr/bin/perl

# NAT traversal between nginx and a real tailscaled: each behind a router with
# nftables, of the kinds that Tailnet::Lab::Router has. What is expected is
# what two real tailscaleds reach; TAILNET_NAT_PAIRS=1 has a second tailscaled
# in nginx's place and proves that.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(time sleep);

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $DIRECT_SECONDS = 10;
my $QUICK_SECONDS = 3;      # of nginx, from the first answer
my $DERP_SECONDS = 4;       # a path that is no better by then stays

my $real = $ENV{TAILNET_NAT_PAIRS};

# before nginx, before the peer, the path

my @cells = (
    ['none',    'none',    'direct'],
    ['easy',    'none',    'direct'],
    ['none',    'easy',    'direct'],
    ['easy',    'easy',    'direct'],
    ['hard',    'none',    'direct'],
    ['none',    'hard',    'direct'],
    ['cone',    'hard',    'direct'],
    ['hard',    'cone',    'direct'],
    ['easy',    'hard',    'derp'],
    ['hard',    'easy',    'derp'],
    ['hard',    'hard',    'derp'],
    ['blocked', 'none',    'derp'],
    ['none',    'blocked', 'derp'],
    ['blocked', 'blocked', 'derp'],
    ['cone',    'easy',    'direct'],
    ['hard+v6', 'hard+v6', 'direct'],
    ['same',    'same',    'direct'],   # behind one hard NAT
    ['hairpin', 'hairpin', 'direct'],   # behind one cone, kept apart there
    ['easy+v6', 'easy',    'direct'],   # IPv6 on one side leads nowhere
    ['hard+v6', 'none',    'direct'],
);


sub nat {
    my ($name) = @_;
    my ($kind, $v6) = $name =~ /^(\w+)(\+v6)?$/;

    return { kind => $kind, v6 => $v6 ? 1 : 0 };
}


# Starts what is under test on the host "web": nginx, or its real rival.

sub start_web {
    my ($lab, $tailnet) = @_;
    my $web = $tailnet->{web};

    if ($real) {
        my $nginx = $lab->nginx(host => $web,
                                http => 'server { listen 80; }');
        $nginx->write('html/index.html', "page\n");
        $nginx->start;

        my $node = $lab->tailscaled(host => $web);
        $node->up(control => $tailnet->{control},
                  auth_key => $tailnet->{auth_key});

        return $nginx;
    }

    my $nginx = $lab->nginx(host => $web, module => 1);

    $nginx->configure(
        main => $nginx->tailnet_block($tailnet->{control},
                                      $tailnet->{auth_key}),
        http => 'server { listen 80 tailnet=home; }');
    $nginx->write('html/index.html', "page\n");
    $nginx->start;

    return $nginx;
}


# The path that is there after the seconds, or sooner if it is direct, and
# when that was.

sub path_of {
    my ($peer, $url, $seconds) = @_;
    my $begin = time();

    while (1) {
        my $direct = $peer->peer('web')->{CurAddr};
        my $after = time() - $begin;

        return ($direct ? 'direct' : 'derp', $after, $direct)
            if $direct || $after >= $seconds;

        $peer->get($url, timeout => 3);
        sleep(0.1);
    }
}


# As an access point does that isolates its clients: what comes from the other
# one's own address is dropped.

sub keep_apart {
    my ($one, $two) = @_;

    for ([$one, $two], [$two, $one]) {
        my ($host, $other) = @$_;

        $host->nft('table inet apart { chain in { '
                   . 'type filter hook input priority 0; ip saddr '
                   . $other->ip4 . ' drop; }; }');
    }
}


sub cell {
    my ($before_web, $before_peer, $expected) = @_;
    my $name = "$before_web - $before_peer";
    my $lab = Tailnet::Lab->new;
    my (%nat, %same);

    if ($before_web eq 'same') {
        my $router = $lab->router('r-same', kind => 'hard');
        %same = map { $_ => { behind => $router } } qw(web peer);

    } elsif ($before_web eq 'hairpin') {
        my $router = $lab->router('r-same', kind => 'cone', hairpin => 1);
        %same = map { $_ => { behind => $router } } qw(web peer);

    } else {
        $nat{web} = nat($before_web) if $before_web ne 'none';
        $nat{peer} = nat($before_peer) if $before_peer ne 'none';
    }

    my $tailnet = $lab->small_tailnet(nat => \%nat, %same);
    my $peer = $tailnet->{peer};
    my $outside = '';

    if ($before_web eq 'hairpin') {
        $outside = $same{web}{behind}->ip4;
        keep_apart($tailnet->{web}, $peer->host);
    }

    my $nginx = start_web($lab, $tailnet);

    $peer->wait_peer('web', 20);

    my ($ip) = grep { !/:/ } @{$peer->peer('web')->{TailscaleIPs}};
    my $url = "http://$ip/";
    my $begin = time();
    my $got = $peer->wait_get($url, seconds => 20);
    my $http = time() - $begin;

    is($got->{body}, "page\n", "$name: HTTP works") or diag($nginx->error_log);

    my ($path, $after, $via) = path_of($peer, $url,
        $expected eq 'direct' ? $DIRECT_SECONDS : $DERP_SECONDS);

    is($path, $expected, "$name: the path is $expected")
        or diag($nginx->error_log), diag($lab->read_file(
            $lab->path('tailscaled-peer.log')) =~ /(.{0,4000})\z/s);

    cmp_ok($after, '<', $QUICK_SECONDS, "$name: soon after the first answer")
        if $expected eq 'direct' && !$real;

    like($via, qr/^\[fd78:/, "$name: by IPv6")
        if $before_web =~ /v6/ && $before_peer =~ /v6/;
    like($via, qr/^\Q$outside\E:/, "$name: by the router's address")
        if $outside;

    is($peer->get($url)->{body}, "page\n", "$name: HTTP goes on");

    return sprintf('%-9s %-9s %-7s %5.1f s %s', $before_web, $before_peer,
                   $path, $http, $path eq 'direct'
                   ? sprintf('%5.1f s', $http + $after) : '      -');
}

my @table;
my $only = $ENV{TAILNET_NAT_ONLY} // '';

for my $cell (grep { "@$_[0, 1]" =~ /^$only/ } @cells) {
    push @table, eval { cell(@$cell) } // "@$cell: $@";
    is($@, '', "@$cell[0, 1]: set up");
}

note join "\n", ($real ? 'tailscaled' : 'nginx')
    . '     peer      path     HTTP    direct', @table;

done_testing();
