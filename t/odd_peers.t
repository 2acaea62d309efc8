#!/usr/bin/perl

# Peers that are not like others. With a real tailscaled: one that knows this
# node by another address than its own, and one whose key has expired. With
# wireguard-go: one that knows WireGuard alone, at one of several addresses.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin/lib";

use Digest::MD5;
use JSON::PP ();
use Test::More;

use Tailnet::Lab;

Tailnet::Lab::require_or_skip();
Tailnet::Lab::require_module();

my $SIZE = 3 * 1024 * 1024;
my $PLAIN = '100.64.9.9';       # WireGuard alone
my $AS = '100.64.9.1';          # as which it knows nginx

my $lab = Tailnet::Lab->new;
my $tailnet = $lab->small_tailnet(testcontrol => 1);
my ($peer, $web, $control) = @{$tailnet}{qw(peer web control)};
my $nginx = $lab->nginx(host => $web, module => 1);

$nginx->configure(
    main => $nginx->tailnet_block($control, $tailnet->{auth_key}),
    http => <<"HTTP");
    log_format whom '\$remote_addr \$server_addr';
    access_log logs/whom.log whom;
    upstream peer { server peer:80 tailnet=home; }
    upstream plain { server $PLAIN:80 tailnet=home; }
    server {
        listen 8001;
        location / {
            proxy_pass http://plain;
            proxy_connect_timeout 30s;
        }
    }
    server {
        listen 80 tailnet=home;
        location = /whom { return 200 "\$remote_addr \$server_addr\\n"; }
    }
    server {
        listen 8000;
        location / {
            proxy_pass http://peer;
            proxy_connect_timeout 5s;
            proxy_intercept_errors off;
        }
    }
HTTP
$nginx->start;

for my $prefix ($nginx->prefix, $tailnet->{peer_web}->prefix) {
    $lab->run('dd', 'if=/dev/urandom', "of=$prefix/html/big", "bs=$SIZE",
              'count=1', 'status=none');
}

$peer->wait_peer('web', 20);
my ($web4) = grep { !/:/ } @{$peer->peer('web')->{TailscaleIPs}};
my ($web6) = grep { /:/ } @{$peer->peer('web')->{TailscaleIPs}};

is($peer->wait_get("http://$web4/whom")->{body}, $peer->ip4 . " $web4\n",
   'as others are') or diag($nginx->error_log);

my ($ours, $theirs) = map { $control->node($_)->{Key} } 'web', 'peer';


# Masqueraded: the real addresses of nginx mean nothing to the peer.

for (['IPv4', '100.99.1.7', $web4, $peer->ip4],
     ['IPv6', 'fd7a:115c:a1e0::99:7', $web6, $peer->ip6])
{
    my ($family, $as, $own, $from) = @$_;
    my $host = $as =~ /:/ ? "[$as]" : $as;

    $control->call(POST => '/masquerade', [
        { Node => $ours, Peer => $theirs, NodeMasqueradesAs => $as }]);

    $lab->wait_for(15, 'the other address', sub {
        grep { $_ eq $as } @{$peer->peer('web')->{TailscaleIPs}};
    });

    is($peer->wait_get("http://$host/whom", seconds => 20)->{body},
       "$from $own\n", "$family: $as comes to $own")
        or diag($nginx->error_log);

    my $in = $lab->path('in');

    $peer->host->run('curl', '-sS', '-m', 30, '-o', $in, "http://$host/big");
    is(md5($in), md5($nginx->prefix . '/html/big'), "$SIZE bytes from there");

    my $far = $from =~ /:/ ? "[$from]" : $from;

    like($web->wait_get("http://127.0.0.1:8000/connection")->{body},
         qr/^\d+ (?:\Q$as\E|$web4|$web6)$/, 'tailscaled is reached');

    (my (undef, $output)) = $peer->try_cli('ping', '--tsmp', '--c', 1,
                                           '--timeout', '5s', $as);
    like($output, qr/^pong /m, 'TSMP is answered from there');

    (undef, $output) = $peer->try_cli('ping', '--icmp', '--c', 1,
                                      '--timeout', '5s', $as);
    like($output, qr/^pong /m, 'and ICMP');
}

$control->call(POST => '/masquerade', [
    { Node => $ours, Peer => $theirs, NodeMasqueradesAs => '100.99.1.8' }]);
$lab->wait_for(15, 'a third address', sub {
    grep { $_ eq '100.99.1.8' } @{$peer->peer('web')->{TailscaleIPs}};
});

my $seen = eval {
    $lab->wait_for(20, 'a connection from there', sub {
        my $got = $web->get('http://127.0.0.1:8000/connection', timeout => 5);
        $got->{body} =~ / 100\.99\.1\.8$/m;
    });
};
ok($seen, 'tailscaled sees nginx at the address it was told')
    or diag($nginx->error_log);

my $in = $lab->path('in');
$web->run('curl', '-sS', '-m', 30, '-o', $in, 'http://127.0.0.1:8000/big');
is(md5($in), md5($tailnet->{peer_web}->prefix . '/html/big'),
   "$SIZE bytes by a connection of nginx");

$control->call(POST => '/masquerade', []);
$lab->wait_for(15, 'the own address', sub {
    grep { $_ eq $web4 } @{$peer->peer('web')->{TailscaleIPs}};
});
is($peer->wait_get("http://$web4/whom", seconds => 20)->{body},
   $peer->ip4 . " $web4\n", 'and as others are again');


# Expired: nothing goes there, nothing comes from there.

$control->call(POST => "/node?node=$theirs", { Expired => JSON::PP::true() });

ok(eval {
    $lab->wait_for(15, 'no way', sub {
        $web->get('http://127.0.0.1:8000/', timeout => 8)->{status} == 502;
    });
}, 'an expired peer is not reached') or diag($nginx->error_log);

my $log = $lab->read_file($nginx->prefix . '/logs/whom.log');
my $got = $peer->get("http://$web4/whom", timeout => 4);
isnt($got->{status}, 200, 'nor does it reach us');
is($lab->read_file($nginx->prefix . '/logs/whom.log'), $log,
   'of which nginx knows nothing');

$control->call(POST => "/node?node=$theirs", { Expired => JSON::PP::false() });

is($peer->wait_get("http://$web4/whom", seconds => 20)->{status}, 200,
   'renewed, it does') or diag($nginx->error_log);
is($web->wait_get('http://127.0.0.1:8000/', seconds => 20)->{status}, 200,
   'and is reached');

# WireGuard alone. Two of its addresses are nobody's, at the third its host
# answers ICMP: that is tried next, and not only after the others.

$web->run('sh', '-c',
          'echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range');

my $plain = $lab->host('plain');
my ($key, $public) = wireguard_keys();
my $self = $control->node('web');
my $port = 51820;

my $go = $plain->start('wireguard', [
    Tailnet::Lab::find_peers() . '/wireguard', '-tun', 'wg0', $port, $key,
    $self->{Key} =~ s/^nodekey://r, $AS]);
$go->wait_log(10, qr{^up$}m);
$plain->ip('addr', 'add', "$PLAIN/24", 'dev', 'wg0');
$plain->ip('link', 'set', 'wg0', 'up');

my $plain_web = $lab->nginx(host => $plain, name => 'plain', http => <<'HTTP');
    server {
        listen 80;
        location = /whom { return 200 "$remote_addr\n"; }
    }
HTTP
$plain_web->start;
$lab->run('cp', $tailnet->{peer_web}->prefix . '/html/big',
          $plain_web->prefix . '/html/big');

my %node = (
    ID => 4711, StableID => 'plain', Name => 'plain.lab.test.',
    Key => "nodekey:$public", User => $self->{User},
    Addresses => ["$PLAIN/32"], AllowedIPs => ["$PLAIN/32"],
    Endpoints => ["10.77.0.251:$port", "10.77.0.252:$port",
                  "10.77.0.253:$port", $plain->ip4 . ":$port"],
    MachineAuthorized => JSON::PP::true(), IsWireGuardOnly => JSON::PP::true(),
    SelfNodeV4MasqAddrForThisPeer => $AS,
);

say_map(PeersChanged => [\%node]);
$lab->wait_for(10, 'the peer', sub { tool('status') =~ /^\Q$PLAIN\E /m });

$got = $web->get('http://127.0.0.1:8001/whom', timeout => 30);
is($got->{body}, "$AS\n", 'a peer of WireGuard alone is reached')
    or diag($nginx->error_log, $go->log);
cmp_ok($got->{time}, '<', 9, 'at the address that answers ICMP');
like(tool('status'), qr/^\Q$PLAIN\E .*, direct \Q@{[$plain->ip4]}\E:$port /m,
     'which status tells');

$web->run('curl', '-sS', '-m', 30, '-o', $in, 'http://127.0.0.1:8001/big');
is(md5($in), md5($plain_web->prefix . '/html/big'), "$SIZE bytes from there");
is($plain->wait_get("http://$AS/whom")->{body}, "$PLAIN $web4\n",
   'and it reaches nginx, as which it knows it');
$plain->run('curl', '-sS', '-m', 30, '-o', $in, "http://$AS/big");
is(md5($in), md5($nginx->prefix . '/html/big'), "$SIZE bytes to there");
isnt($plain->get("http://$web4/whom", timeout => 2)->{status}, 200,
     'but not at the address of nginx itself');

say_map(PeersChanged => [{ %node, Expired => JSON::PP::true() }]);
ok(eval {
    $lab->wait_for(15, 'no way', sub {
        $web->get('http://127.0.0.1:8001/', timeout => 8)->{status} == 502;
    });
}, 'expired, it is not reached') or diag($nginx->error_log);
isnt($plain->get("http://$AS/whom", timeout => 3)->{status}, 200,
     'nor does it reach us');

is(join("\n", $nginx->errors(qr/\[(?:alert|emerg|crit)\]/)), '',
   'nothing alarming in the log');

done_testing();


# From now on control tells nginx nothing else.

sub say_map {
    my (%map) = @_;
    return $control->call(POST => "/raw-map?node=$ours", \%map);
}


sub tool {
    my (@args) = @_;
    my (undef, $output) = Tailnet::Lab::capture(
        $lab->path('modules') . '/ngx_tailnet_core', @args, '--run',
        $nginx->run_dir);

    return $output;
}


# (private, public), hexadecimal: the last 32 bytes of both forms

sub wireguard_keys {
    my $pem = $lab->path('wireguard.pem');

    $lab->run('openssl', 'genpkey', '-algorithm', 'X25519', '-out', $pem);

    return map {
        $lab->run('openssl', 'pkey', '-in', $pem, '-outform', 'DER',
                  '-out', "$pem.der", @$_);
        open my $der, '<:raw', "$pem.der" or die "$pem.der: $!";
        local $/;
        unpack 'H*', substr(<$der>, -32);
    } [], ['-pubout'];
}


sub md5 {
    my ($file) = @_;

    open my $handle, '<:raw', $file or die "$file: $!";
    return Digest::MD5->new->addfile($handle)->hexdigest;
}
