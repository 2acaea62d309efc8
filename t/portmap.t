#!/usr/bin/perl

# Port mapping: nginx behind a router with a real miniupnpd, a real tailscaled
# behind another one, both giving each destination another port, so that
# nothing but a mapped port brings them together. Each protocol alone; a
# gateway that dies and comes back; one that talks nonsense; the end.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use JSON::PP;
use Test::More;

use Tailnet::Lab;
use Tailnet::Lab::Gateway;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $obstacle = Tailnet::Lab::Gateway::obstacle();
plan skip_all => $obstacle if $obstacle;

my $lab = Tailnet::Lab->new;
my $tailnet = $lab->small_tailnet(nat => { web => 'hard', peer => 'hard' });
my ($web, $peer) = @$tailnet{qw(web peer)};
my $gateway = Tailnet::Lab::Gateway->new($lab, $tailnet->{router}{web},
    reached_by => [$tailnet->{router}{peer}]);
my $nginx = $lab->nginx(host => $web, module => 1);
my $run = $nginx->run_dir;
my $inside = $web->ip4;
my $mapped;                     # "address:port", as nginx says


sub configure {
    my ($extra) = @_;

    $nginx->configure(
        main => $nginx->tailnet_block($tailnet->{control},
            $tailnet->{auth_key}, extra => "port 41641; $extra"),
        http => 'server { listen 80 tailnet=home; }');
}


sub tool {
    return Tailnet::Lab::capture($lab->path('modules') . '/ngx_tailnet_core',
                                 shift, '--run', $run, @_);
}


sub netcheck {
    my (undef, $output) = tool('netcheck', '--json');
    my $json = eval { decode_json($output) } // {};

    return $json->{nodes}[0] // {};
}


sub mapping {
    my ($node) = @_;
    my ($found) = grep { $_->{type} eq 'portmapped' } @{$node->{endpoints} // []};

    return $found && $found->{address};
}


# What nginx says and what the router knows, as soon as they agree.

sub wait_mapping {
    my ($seconds, $what) = @_;
    my $target;

    eval {
        $lab->wait_for($seconds, 'a mapping', sub {
            $mapped = mapping(netcheck());
            my ($port) = ($mapped // '') =~ /:(\d+)$/;
            $target = $gateway->target($port // 0);
            $target && $target eq "$inside:41641";
        });
    };

    like($mapped // 'none', qr/^\Q@{[$gateway->public]}\E:\d+$/, $what)
        or diag($nginx->error_log), diag($gateway->process->log_tail(20));
    is($target, "$inside:41641", "$what: the router knows it");
}


sub direct {
    my ($name) = @_;
    my ($ip) = grep { !/:/ } @{$peer->peer('web')->{TailscaleIPs}};
    my $direct = eval {
        $lab->wait_for(15, 'a direct path', sub {
            $peer->get("http://$ip/", timeout => 3);
            my $at = $peer->peer('web')->{CurAddr};
            $mapped && $at eq $mapped && $at;
        });
    };

    is($direct, $mapped // 'mapped', "$name: tailscaled is direct by it")
        or diag($nginx->error_log);
    is($peer->wait_get("http://$ip/", seconds => 10)->{body}, "page\n",
       "$name: HTTP works");
}


configure('');
$nginx->write('html/index.html', "page\n");
$nginx->start;
$peer->wait_peer('web', 20);
is($peer->wait_get('http://web/', seconds => 20)->{status}, 200,
   'HTTP over DERP');

cmp_ok($gateway->questions, '>', 0, 'the router was asked');
is(mapping(netcheck()), undef, 'it knows no protocol, there is no mapping');

# From here on it speaks one after the other.

my %flags = (pcp => 'pcp', 'nat-pmp' => 'nat_pmp', upnp => 'upnp');

for my $protocol ('pcp', 'nat-pmp', 'upnp') {
    subtest $protocol => sub {
        $gateway->speak($protocol);
        is((tool('poke'))[0], 0, 'poked');

        # How it was got and what else there is come one after the other.

        my %want = map { $flags{$_} => $_ eq $protocol } keys %flags;
        my $now;

        ok(eval {
            $lab->wait_for(15, 'what the router offers', sub {
                $now = netcheck();
                !grep { !defined $now->{$_} || !!$now->{$_} ne !!$want{$_} }
                    keys %want;
            });
        }, 'netcheck tells this protocol from the others')
            or diag(explain($now));
        wait_mapping(15, "a mapping by $protocol");
        direct($protocol);
    };
}

subtest 'the core dies' => sub {
    $gateway->speak('pcp');
    tool('poke');
    wait_mapping(15, 'before');

    my $held = $mapped;
    my ($core) = reverse $nginx->error_log =~ /core process (\d+) started/g;

    ok(kill('KILL', $core), 'killed');
    $lab->wait_for(10, 'the next core', sub {
        my ($next) = reverse $nginx->error_log =~ /core process (\d+) started/g;
        $next != $core && defined netcheck()->{udp};
    });
    wait_mapping(15, 'the next core');
    is($mapped, $held, 'renews what the router gave to the former');
};

subtest 'the daemon dies and is started again' => sub {
    $gateway->speak('pcp');
    tool('poke');
    wait_mapping(15, 'before');

    my ($port) = $mapped =~ /:(\d+)$/;

    $gateway->kill;
    is($gateway->target($port), undef, 'the router has forgotten it');
    tool('poke');
    ok(mapping(netcheck()), 'without an answer it stays until it expires');

    # What it announces when it starts is enough, nobody pokes.

    $gateway->start;
    ok(eval {
        $lab->wait_for(15, 'the mapping', sub { $gateway->target($port) });
    }, 'made again when the router announces itself')
        or diag($gateway->process->log_tail(20));
    direct('after that');
};

subtest 'another address' => sub {
    $inside =~ s/\d+$/200/;
    $web->ip('addr', 'del', $web->ip4 . '/24', 'dev', 'eth0');
    $web->ip('addr', 'add', "$inside/24", 'dev', 'eth0');
    $web->set_routes;

    $nginx->wait_error_log(10, qr/\[notice\].*the port mapping \S+ by PCP is lost/);
    wait_mapping(15, 'another mapping');
    direct('by that');
};

# The router's port is taken by something that talks nonsense: nothing for
# each question, short, long, random, and grants of other ports by a nonce
# and with addresses that cannot be.

my $NONSENSE = <<'PERL';
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
$| = 1;
my ($public) = @ARGV;
my $pxp = IO::Socket::INET->new(LocalPort => 5351, Proto => 'udp') or die $!;
my $ssdp = IO::Socket::INET->new(LocalPort => 1900, Proto => 'udp',
                                 ReuseAddr => 1) or die $!;
my $http = IO::Socket::INET->new(LocalPort => 5000, Listen => 5,
                                 ReuseAddr => 1) or die $!;
setsockopt($ssdp, 0, 35, pack('C8', 239, 255, 255, 250,
                              split /\./, $ARGV[1])) or die $!;
my $select = IO::Select->new($pxp, $ssdp, $http);
my @ip = split /\./, $public;
my $v6 = pack('x10 n C4', 0xffff, @ip);
print "ready\n";
while (1) {
    for my $s ($select->can_read) {
        if ($s == $http) {
            my $c = $http->accept or next;
            sysread($c, my $request, 4096);
            print "http\n";
            syswrite($c, "HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n"
                . '<root><device>' . '<serviceType>' x 5000);
            close $c;
            next;
        }

        my $from = $s->recv(my $q, 2000) // next;

        if ($s == $ssdp) {
            print "ssdp\n";
            # elsewhere, nowhere, here
            for my $where ('http://127.0.0.1:80/x', 'http://' . 'a' x 600,
                           "http://$ARGV[1]:5000/root.xml") {
                $s->send("HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:device"
                    . ":InternetGatewayDevice:1\r\nUSN: uuid:1\r\n"
                    . "LOCATION: $where\r\n\r\n", 0, $from);
            }
            next;
        }

        my $version = unpack 'C', $q;
        print "pxp $version\n";
        my @answers = ('', "\0", "\2\x81", join('', map { chr rand 256 }
                                                   1 .. 200), 'x' x 1400);
        if ($version == 0 && length $q == 2) {
            push @answers, pack('C C n N', 0, 128, 0, 7),
                pack('C C n N C4 x4', 0, 128, 0, 7, @ip),
                pack('C C n N C4', 0, 128, 0, 7, 127, 0, 0, 1);
        } elsif ($version == 0) {
            push @answers, pack('C C n N n n N', 0, 129, 0, 7, 1, 4444, 7200);
        } elsif (length $q == 60) {
            my $nonce = substr $q, 24, 12;
            push @answers,
                pack('C C x C N N x12', 2, 129, 0, 7200, 7) . 'x' x 12
                    . substr($q, 36, 8) . $v6,
                pack('C C x C N N x12', 2, 129, 0, 7200, 7)
                    . $nonce . substr($q, 36, 4) . pack('n n', 1, 4444) . $v6;
        }
        $s->send($_, 0, $from) for @answers;
    }
}
PERL

subtest 'a gateway that talks nonsense' => sub {
    my $router = $tailnet->{router}{web};
    my $log = length $nginx->error_log;

    $gateway->speak('pcp', 'nat-pmp');
    tool('poke');
    wait_mapping(15, 'before');
    my $held = $mapped;
    $gateway->stop;

    my $nonsense = $router->start('nonsense',
        ['perl', '-e', $NONSENSE, $gateway->public, $router->lan_ip4]);
    $nonsense->wait_log(5, qr/ready/);
    tool('poke');
    $nonsense->wait_log(15, qr/pxp 2.*pxp 0.*ssdp.*http/s);
    tool('poke');
    $nonsense->wait_log(15, qr/(?:pxp 2.*pxp 0.*ssdp.*http.*){2}/s);

    is(mapping(netcheck()), $held, 'changes nothing of what is held');
    is($peer->get("http://web/")->{body}, "page\n", 'and the node is well');
    $nonsense->stop;
};

subtest 'the end' => sub {
    $gateway->speak('pcp', 'nat-pmp', 'upnp');
    tool('poke');
    wait_mapping(15, 'before');

    my ($port) = $mapped =~ /:(\d+)$/;

    $nginx->quit;
    kill 'KILL', $tailnet->{web}->pids
        if !$nginx->errors(qr/has not left in/);
    ok(eval {
        $lab->wait_for(10, 'the end', sub { !$gateway->target($port) });
    }, 'the mapping is given back');

    my $log = $nginx->error_log;
    like($log, qr/\[notice\].*UDP port 41641 is \S+, mapped by \Q$_\E of the /,
         "the log says so of $_") for 'PCP', 'NAT-PMP', 'UPnP';

    my $asked = $gateway->questions;

    configure('port_mapping off;');
    $nginx->start;
    $lab->wait_for(15, 'a report', sub { defined netcheck()->{udp} });
    tool('poke');
    sleep(1);
    is($gateway->questions, $asked, 'off: the router is not asked');
    is(netcheck()->{pcp}, undef, 'and nothing is known of it');
};

done_testing();
