#!/usr/bin/perl

# The network of nginx's host changes under a running download: another
# address, a link that goes down and comes back, a NAT that forgets its
# mappings or maps to other ports. The download must go on. How long the path
# was away is told by new connections from the peer, one every 0.1 s: TCP's
# own backoff makes the pause of a download longer than that. Other mapped
# ports are noticed by the next heartbeat, 3 s later at most.
# TAILNET_NAT_PAIRS=1 has a second tailscaled in nginx's place.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Test::More;
use Time::HiRes qw(time sleep);

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $RATE = 200_000;             # of the download, bytes a second
my $SIZE = 20_000_000;

my $real = $ENV{TAILNET_NAT_PAIRS};
my @table;


sub node {
    my (%opt) = @_;
    my $lab = Tailnet::Lab->new;
    my $tailnet = $lab->small_tailnet(%opt);
    my $nginx = $lab->nginx(host => $tailnet->{web}, module => !$real);
    my $listen = $real ? '80' : '80 tailnet=home';

    $nginx->configure(
        $real ? () : (main => $nginx->tailnet_block($tailnet->{control},
                                                    $tailnet->{auth_key})),
        http => "server { listen $listen; limit_rate $RATE; }");
    $nginx->write('html/big', 'x' x $SIZE);
    $nginx->start;

    $lab->tailscaled(host => $tailnet->{web})->up(
        control => $tailnet->{control}, auth_key => $tailnet->{auth_key})
        if $real;

    my $peer = $tailnet->{peer};
    $peer->wait_peer('web', 20);
    is($peer->wait_get('http://web/big', args => ['-r', '0-9'],
                       status => 206, seconds => 20)->{status}, 206, 'HTTP');
    $peer->wait_path('web', qr/direct/, 20);

    return ($lab, $tailnet, $nginx);
}


# Downloads to a file at a steady rate; what came is the size of the file.

sub download {
    my ($lab, $peer, $out) = @_;
    my ($ip) = grep { !/:/ } @{$peer->peer('web')->{TailscaleIPs}};

    unlink $out;

    my $curl = $peer->host->start('download',
        ['curl', '-sS', '-N', '-o', $out, '-m', 90, "http://$ip/big"]);

    $lab->wait_for(10, 'the download', sub { (-s $out // 0) > $RATE });

    return $curl;
}


# Connects again and again, prints when each connection was begun that came
# to be.

my $PROBE = <<'PERL';
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw(time);
$| = 1;
my ($ip, %begun) = @ARGV;
my $all = IO::Select->new;
while (1) {
    my $s = IO::Socket::INET->new(PeerAddr => $ip, PeerPort => 80,
                                  Proto => 'tcp', Blocking => 0);
    my $end = time() + 0.1;
    if ($s) {
        $begun{$s} = time();
        $all->add($s);
    }
    while ((my $left = $end - time()) > 0) {
        if (!$all->count) {             # of nothing it does not wait
            select undef, undef, undef, $left;
            last;
        }
        for my $ready ($all->can_write($left)) {
            print "$begun{$ready}\n" if $ready->connected;
            $all->remove($ready);
            delete $begun{$ready};
        }
    }
    for my $old (grep { $begun{$_} < time() - 0.9 } $all->handles) {
        $all->remove($old);
        delete $begun{$old};
    }
}
PERL


sub longest {
    my ($longest, $last) = (0, shift);

    for my $time (@_) {
        $longest = $time - $last if $time - $last > $longest;
        $last = $time;
    }

    return $longest;
}


# When the file grew, from now on: for so many seconds, and until it has grown
# steadily for 3 s or the time is up.

sub growth {
    my ($out, $least, $most) = @_;
    my $begin = time();
    my $size = -s $out;
    my @times = $begin;
    my $steady = $begin;

    while (1) {
        my $now = time();
        my $new = -s $out;

        $steady = $now if $now - $times[-1] > 1;

        if ($new != $size) {
            push @times, $now;
            $size = $new;
        }

        last if $now - $begin >= $most
            || ($now - $begin >= $least && $now - $steady >= 3);
        sleep(0.05);
    }

    return (@times, time());
}


# The change, the pauses, the path after it. They begin with the change, or
# with the return of the link where the change is that it was away.

sub change {
    my ($name, $limit, $setup, $code) = @_;
    my ($lab, $tailnet, $nginx) = @$setup;
    my $peer = $tailnet->{peer};
    my $out = $lab->path('big');
    my ($ip) = grep { !/:/ } @{$peer->peer('web')->{TailscaleIPs}};
    my $curl = download($lab, $peer, $out);
    my $probe = $peer->host->start('probe-' . ++$lab->{probes},
                                   ['perl', '-e', $PROBE, $ip]);

    $probe->wait_log(5, qr/\d\n/);
    growth($out, 1, 1);
    $code->();

    my @grew = growth($out, 8, 15);
    $probe->stop;

    my $pause = longest($grew[0],
        (grep { $_ > $grew[0] } split /\n/, $probe->log), $grew[-1]);

    ok($curl->alive && $grew[-2] > $grew[-1] - 3,
       "$name: the download goes on")
        or diag($curl->log), diag($nginx->error_log);
    cmp_ok($pause, '<', $limit, "$name: no pause of $limit s")
        or diag($nginx->error_log);
    $curl->stop;

    my $pong = eval { $peer->wait_path('web', qr/direct/, 20) };

    ok($pong, "$name: direct again") or diag($nginx->error_log);
    push @table, sprintf('%-27s path away %4.1f s, download %4.1f s',
                         $name, $pause, longest(@grew));
}


# How often a peer's path was given up since the network had changed.

sub changes { return scalar(() = $_[0]->error_log =~ /\(network changed\)/g) }


subtest 'on the switch' => sub {
    my @setup = node();
    my $web = $setup[1]{web};

    change('nothing', 2, \@setup, sub { });

    my $changes = changes($setup[2]);

    change('links of containers', 2, \@setup, sub {
        for my $i (1 .. 3) {
            $web->ip('link', 'add', "veth$i", 'type', 'veth', 'peer', 'name',
                     "vethp$i");
            $web->ip('link', 'set', $_, 'up') for "veth$i", "vethp$i";
        }

        sleep(1);
        $web->ip('link', 'del', "veth$_") for 1 .. 3;
        $web->ip('route', 'add', '192.0.2.0/24', 'via', '10.77.0.250');
    });

    is(changes($setup[2]), $changes, 'links of containers: no path was left')
        or diag($setup[2]->error_log) unless $real;

    change('another address', 3, \@setup, sub {
        $web->ip('addr', 'del', $web->ip4 . '/24', 'dev', 'eth0');
        $web->ip('addr', 'add', '10.77.0.200/24', 'dev', 'eth0');
        $web->ip('-6', 'addr', 'del', $web->ip6 . '/64', 'dev', 'eth0');
    });

    change('link away for 1 s', 3, \@setup, sub {
        $web->ip('link', 'set', 'eth0', 'down');
        sleep(1);
        $web->ip('link', 'set', 'eth0', 'up');
        $web->set_routes;
    });
};

subtest 'behind a NAT' => sub {
    my @setup = node(nat => { web => 'easy' });
    my ($web, $router) = ($setup[1]{web}, $setup[1]{router}{web});

    my $changes = changes($setup[2]);

    change('a network of containers', 2, \@setup, sub {
        $web->ip('link', 'add', 'veth1', 'type', 'veth', 'peer', 'name',
                 'vethp1');
        $web->ip('addr', 'add', '172.31.0.1/16', 'dev', 'veth1');
        $web->ip('link', 'set', 'veth1', 'up');
        sleep(2);
        $web->ip('link', 'del', 'veth1');
    });

    is(changes($setup[2]), $changes, 'and no path was left')
        or diag($setup[2]->error_log) unless $real;

    change('mappings forgotten', 3, \@setup, sub { $router->forget });

    change('other mapped ports', 5, \@setup, sub {
        $router->set_kind('easy', ports => '20000-29999');
        $router->forget;
    });

    change('another address on the LAN', 3, \@setup, sub {
        my $lan = $router->lan_ip4 =~ s/\d+$//r;

        $web->ip('addr', 'del', $web->ip4 . '/24', 'dev', 'eth0');
        $web->ip('addr', 'add', "${lan}200/24", 'dev', 'eth0');
        $web->set_routes;
    });
};

note join "\n", $real ? 'tailscaled' : 'nginx', @table;

done_testing();
