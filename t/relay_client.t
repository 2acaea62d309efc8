#!/usr/bin/perl

# nginx as a client of peer relays: nothing but DERP joins it to a real
# tailscaled, until there is a relay that both reach, of another tailscaled, of
# another nginx, or its own. What goes there arrives, when the relay dies DERP
# goes on, and when it is back it is used again.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::MD5;
use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $PORT = 7777;
my $SIZE = 4 * 1024 * 1024;

my $lab = Tailnet::Lab->new;
my $tailnet = $lab->small_tailnet(testcontrol => 1,
                                  control => { args => ['-peer-relay'] });
my ($peer, $web, $control) = @{$tailnet}{qw(peer web control)};
my $program = $lab->path('modules') . '/ngx_tailnet_core';

my $other = $lab->tailscaled(host => $lab->host('other'));
$other->up(control => $control, auth_key => $tailnet->{auth_key});

# Between the two, but to a relay's port, no UDP passes.

for my $pair ([$peer->host, $web], [$web, $peer->host]) {
    my ($host, $far) = @$pair;

    $host->nft(sprintf <<"RULES", $far->ip4, $far->ip6);
table inet lab_apart {
    chain in { type filter hook input priority 0;
               udp dport $PORT accept; udp sport $PORT accept;
               meta l4proto udp ip saddr %s drop;
               meta l4proto udp ip6 saddr %s drop; }
}
RULES
}

my $nginx = node('web', $web);

$peer->wait_peer('web', 20);
is($peer->wait_get('http://web/index.html', seconds => 20)->{body},
   "page of web\n", 'tailscaled reaches nginx') or diag($nginx->error_log);
is($web->wait_get('http://127.0.0.1:8000/index.html', seconds => 20)->{status},
   200, 'nginx reaches tailscaled') or diag($nginx->error_log);
is(way($nginx)->{kind}, 'derp', 'over DERP');


# Only nginx may ask for places: from now on tailscaled's filter grants none.

my ($node) = $control->node('peer');

$control->call(POST => "/raw-map?node=$node->{Key}", {
    PacketFilter => [{ SrcIPs => ['*'], DstPorts => [
        { IP => '*', Ports => { First => 0, Last => 65535 } }] }],
});


# The relay of the other tailscaled.

$other->cli('set', "--relay-server-port=$PORT");

my $took = use_relay($nginx);
my ($via) = way($nginx)->{address} =~ /^(.*):$PORT:vni:\d+$/;

ok($via && grep({ $via eq $_ } $other->host->ip4,
                '[' . $other->host->ip6 . ']'), "through tailscaled's relay");
note(sprintf '%s after %.1f s', $via // '-', $took);

moves_data('of tailscaled', $other->host);
like(tool($nginx, 'ping', 'peer'),
     qr/^pong from \S+ via peer-relay\(\S+:$PORT:vni:\d+\) in [\d.]+ ms$/m,
     'a ping goes there');
like(tool($nginx, 'status'), qr/, peer-relay \S+:$PORT:vni:\d+ /,
     'status says so');
like($peer->peer('web')->{PeerRelay} // '', qr/:$PORT:vni:\d+$/,
     'and so does that of tailscaled');
like($peer->ping('web', 5)->{via} // '', qr/^peer-relay\(/,
     'whose pings are answered there');


# It dies: DERP carries on, no connection ends.

$other->process->signal('STOP');

my $begin = time();
my $page = $web->get('http://127.0.0.1:8000/index.html', timeout => 30);
is($page->{status}, 200, 'the relay is frozen: answers come');
note(sprintf 'within %.1f s', $page->{time});

ok(eval {
    $lab->wait_for(30, 'DERP', sub {
        $web->get('http://127.0.0.1:8000/index.html', timeout => 5);
        way($nginx)->{kind} eq 'derp';
    });
}, 'over DERP') or diag($@, $nginx->error_log);

$other->process->signal('CONT');
ok(use_relay($nginx), 'it thaws and is used again');


# Another nginx is the relay, behind a router that forwards another port to it.

$other->cli('set', '--relay-server-port=');

my $router = $lab->router('r-second', kind => 'easy');
my $second = $lab->host('second', behind => $router);

$router->nft(sprintf <<"RULES", $second->ip4, $second->ip4);
table ip lab_forward {
    chain before { type nat hook prerouting priority dstnat - 1;
                   iifname "eth0" udp dport 9999 dnat to %s:$PORT; }
    chain after { type nat hook postrouting priority srcnat - 1;
                  ip saddr %s udp sport $PORT masquerade to :9999; }
}
RULES

my $relay = node('second', $second, "peer_relay_port $PORT;");

ok(eval {
    $lab->wait_for(90, 'the relay of nginx', sub {
        $web->get('http://127.0.0.1:8000/index.html', timeout => 5);
        (way($nginx)->{address} // '') =~ /^\Q@{[$router->ip4]}\E:9999:vni:/;
    });
}, "through nginx's relay, at the port that STUN servers see") or diag($@, $nginx->error_log, $relay->error_log);

moves_data('of nginx', $second, $router->ip4 . ':9999');


# And its own.

$relay->quit;
$lab->wait_for(30, 'both sides to leave that relay', sub {
    $web->get('http://127.0.0.1:8000/index.html', timeout => 5);
    way($nginx)->{kind} ne 'peer-relay' && !$peer->peer('web')->{PeerRelay};
});
configure($nginx, 'web', "peer_relay_port $PORT;");
$nginx->reload;

ok(eval {
    $lab->wait_for(90, 'its own relay', sub {
        $web->get('http://127.0.0.1:8000/index.html', timeout => 5);
        my $now = way($nginx)->{address} // '';
        grep { $now =~ /^\Q$_\E:$PORT:vni:/ } $web->ip4,
            '[' . $web->ip6 . ']';
    });
}, 'through its own relay') or diag($@, $nginx->error_log);

moves_data('of its own', $web);

is(join("\n", $nginx->errors(qr/\[(?:alert|emerg|crit)\]/)), '',
   'nothing alarming in the log');

done_testing();


sub configure {
    my ($this, $name, $extra) = @_;

    $this->configure(
        main => $this->tailnet_block($control, $tailnet->{auth_key},
                                     hostname => $name,
                                     extra => $extra // ''),
        http => <<"HTTP");
        upstream peer { server peer:80 tailnet=home; }
        server { listen 80 tailnet=home; }
        server {
            listen 8000;
            location / {
                proxy_pass http://peer;
                proxy_connect_timeout 10s;
            }
        }
HTTP
}


sub node {
    my ($name, $host, $extra) = @_;
    my $this = $lab->nginx(host => $host, module => 1, name => $name);

    configure($this, $name, $extra);
    $this->write('html/index.html', "page of $name\n");
    $this->start;

    return $this;
}


sub tool {
    my ($this, @args) = @_;
    my (undef, $output) = Tailnet::Lab::capture(
        $program, @args, '--run', $this->run_dir);

    return $output;
}


# The way from nginx to tailscaled.

sub way {
    my ($this) = @_;
    my $shown = JSON::PP->new->decode(tool($this, 'status', '--json') || '{}');

    my ($found) = grep { ($_->{name} // '') =~ /^peer\./ }
        map { @{$_->{peers} // []} } @{$shown->{nodes} // []};

    return $found->{path} // { kind => 'none' };
}


sub use_relay {
    my ($this) = @_;
    my $since = time();

    $lab->wait_for(60, 'a place on a relay', sub {
        $web->get('http://127.0.0.1:8000/index.html', timeout => 5);
        way($this)->{kind} eq 'peer-relay';
    });

    return time() - $since;
}


# Random bytes from each to the other; they are counted where they pass.

sub moves_data {
    my ($whose, $host, @at) = @_;

    @at = map { "$_:$PORT" } $host->ip4, '[' . ($host->ip6 // '') . ']'
        unless @at;

    ok(eval {
        $lab->wait_for(60, 'the other side', sub {
            $web->get('http://127.0.0.1:8000/index.html', timeout => 5);
            my $there = $peer->peer('web')->{PeerRelay} // '';
            grep { index($there, "$_:vni:") == 0 } @at;
        });
    }, 'where tailscaled is, too') or diag($@, $peer->cli('status'));

    $host->nft(<<"RULES");
table inet lab_count
delete table inet lab_count
table inet lab_count {
    chain in { type filter hook input priority 0;
               udp dport $PORT counter; }
}
RULES

    for my $prefix ($nginx->prefix, $tailnet->{peer_web}->prefix) {
        $lab->run('dd', 'if=/dev/urandom', "of=$prefix/html/big", "bs=$SIZE",
                  'count=1', 'status=none');
    }

    my $in = $lab->path('in');

    $web->run('curl', '-sS', '-m', 60, '-o', $in, 'http://127.0.0.1:8000/big');
    is(md5($in), md5($tailnet->{peer_web}->prefix . '/html/big'),
       "$SIZE bytes from tailscaled by the relay $whose");

    $peer->host->run('curl', '-sS', '-m', 60, '-o', $in,
                     'http://' . address('web') . '/big');
    is(md5($in), md5($nginx->prefix . '/html/big'),
       'and as many from nginx');

    my (undef, $rules) = $host->capture('nft', 'list', 'table', 'inet',
                                        'lab_count');
    my ($bytes) = $rules =~ /counter packets \d+ bytes (\d+)/;
    cmp_ok($bytes // 0, '>', 2 * $SIZE, 'passed there');
}


sub address {
    my ($name) = @_;
    my ($ip) = grep { !/:/ } @{$peer->peer($name)->{TailscaleIPs}};

    return $ip;
}


sub md5 {
    my ($file) = @_;

    open my $handle, '<:raw', $file or die "$file: $!";
    return Digest::MD5->new->addfile($handle)->hexdigest;
}
