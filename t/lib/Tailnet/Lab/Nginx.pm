package Tailnet::Lab::Nginx;

# The distribution's nginx on a host of the lab: under test with our module, or
# as an ordinary web server behind a tailscaled. Each has a prefix of its own.

use strict;
use warnings;

use Carp qw(croak);
use File::Copy qw(copy);
use File::Path qw(make_path);

use Tailnet::Lab::Process;

my $MAKE_TUN = 'mknod -m 666 /dev/net/tun c 10 200';


# new($lab, host => $host, name => 'nginx', main => '...', http => '...',
#     stream => '...', level => 'info', env => {...}, module => 1,
#     user => 'www-data', binary => '/path/nginx', build => '/path')
#   main: text of the main context; http, stream: text of those blocks
#   module: load ours
#   user: the whole of nginx runs as this user, with a /dev/net/tun of its own
#     that everybody may open
#   tun => 0: there is no /dev/net/tun, until make_tun()
#   confined => 1: as the user, without any capability, and seccomp refuses
#     namespaces
#   binary, build: another nginx, and the directory with modules for it
#   linked => 1: ours is linked into that binary, its programs are beside it
# In the texts %%PREFIX%% stands for the prefix, %%STATE%% for a directory that
# belongs to nginx's user, %%CA%% for the lab's root certificate.

sub new {
    my ($class, $lab, %opt) = @_;
    my $host = $opt{host} // croak 'nginx needs a host';

    my $self = bless {
        lab    => $lab,
        host   => $host,
        name   => $opt{name} // 'nginx-' . $host->name,
        level  => $opt{level} // 'info',
        env    => $opt{env} // {},
        module => $opt{module},
        user   => $opt{user},
        no_tun => defined $opt{tun} && !$opt{tun},
        confined => $opt{confined},
        build  => $opt{build},
        linked => $opt{linked},
        binary => $opt{binary} // $ENV{TEST_NGINX_BINARY}
                  // Tailnet::Lab::find_program('nginx'),
    }, $class;

    croak 'nginx is not installed' unless $self->{binary};

    $self->{prefix} = $lab->path($self->{name});
    make_path(map { "$self->{prefix}/$_" } qw(conf html logs tmp state));

    # Workers and the core run as nginx's user.
    my ($uid, $gid) = (getpwnam 'www-data')[2, 3];
    chown $uid, $gid, "$self->{prefix}/state" if defined $uid;
    chown((getpwnam $self->{user})[2, 3],
          map { "$self->{prefix}/$_" } qw(logs tmp state)) if $self->{user};

    $self->configure(%opt);

    return $self;
}


sub prefix { return $_[0]{prefix} }
sub host { return $_[0]{host} }

# What the core's tools take for --run.
sub run_dir { return "$_[0]{prefix}/logs/nginx.pid.tailnet" }


# The file of our module as it was built; tests that need it fail without it.

sub module_file {
    return Tailnet::Lab->build('ngx_tailnet_module.so');
}


# Copies what was built into a directory and returns the module there. nginx's
# user may not be able to look into the checkout, and a build that goes on
# must not change the program under a running test.

sub install_module {
    my ($dir, $from) = @_;

    make_path($dir);

    for my $name (qw(ngx_tailnet_module.so ngx_stream_tailnet_module.so
                     ngx_tailnet_core ngx_tailnet_super))
    {
        my $file = $from ? "$from/$name" : Tailnet::Lab->build($name);
        next unless -e $file && !-e "$dir/$name";

        copy($file, "$dir/$name") or croak "$file: $!";
        chmod 0755, "$dir/$name";
    }

    return "$dir/ngx_tailnet_module.so";
}


# The text of a tailnet block for configure(), and the file with its key.
#   tailnet_block($control, $auth_key, name => 'home', hostname => 'web',
#                 extra => 'more directives;')
# TAILNET_STACK=lwip in the environment: with that stack, where none is said.

sub tailnet_block {
    my ($self, $control, $auth_key, %opt) = @_;
    my $name = $opt{name} // 'home';
    my $hostname = $opt{hostname} // 'web';
    my $extra = $opt{extra} // '';

    $extra .= "\n    stack                   $ENV{TAILNET_STACK};"
        if $ENV{TAILNET_STACK} && $extra !~ /\bstack\b/;

    $self->write("conf/$name.key", "$auth_key\n", 0600);
    chown((getpwnam $self->{user})[2, 3], "$self->{prefix}/conf/$name.key")
        if $self->{user};

    return <<"BLOCK";
tailnet $name {
    control_url             @{[$control->url]};
    auth_key                file:%%PREFIX%%/conf/$name.key;
    hostname                $hostname;
    state                   %%STATE%%/$name;
    tls_trusted_certificate %%CA%%;
    $extra
}
BLOCK
}


# (Re)writes nginx.conf; same texts as new().

sub configure {
    my ($self, %opt) = @_;
    my ($lab, $prefix) = @{$self}{qw(lab prefix)};
    my $config = '';

    $config .= $self->load_modules(defined $opt{stream});
    $config .= "$opt{main}\n" if defined $opt{main};
    $config .= "events {\n    worker_connections 1024;\n}\n"
        unless ($opt{main} // '') =~ /^\s*events\b/m;
    $config .= <<"HTTP" if defined $opt{http};
http {
    access_log            logs/access.log;
    client_body_temp_path tmp/body;
    proxy_temp_path       tmp/proxy;
    fastcgi_temp_path     tmp/fastcgi;
    uwsgi_temp_path       tmp/uwsgi;
    scgi_temp_path        tmp/scgi;
$opt{http}
}
HTTP
    $config .= "stream {\n$opt{stream}\n}\n" if defined $opt{stream};

    my %known = (PREFIX => $prefix, STATE => "$prefix/state",
                 CA => $lab->ca->cert);
    $config =~ s/%%(\w+)%%/$known{$1} \/\/ croak "%%$1%%?"/ge;

    $self->{config} = $config;
    $lab->write_file("$prefix/conf/nginx.conf", $config);
}


# The load_module lines: stream, where it is an object, before what needs it.

sub load_modules {
    my ($self, $stream) = @_;
    my $config = '';

    if ($stream) {
        my (undef, $build) = Tailnet::Lab::capture($self->{binary}, '-V');
        my $dir = $self->{build} // ($build =~ /--modules-path=(\S+)/)[0];

        $config .= "load_module $dir/ngx_stream_module.so;\n"
            if $build =~ /--with-stream=dynamic/;
    }

    return $config if $self->{linked} || !$self->{module};

    my $ours = $self->{build}
        ? install_module($self->{lab}->path("modules-$self->{name}"),
                         $self->{build})
        : install_module($self->{lab}->path('modules'));

    $config .= "load_module $ours;\n";
    $config .= 'load_module '
        . $ours =~ s/ngx_tailnet_module/ngx_stream_tailnet_module/r . ";\n"
        if $stream;

    return $config;
}


sub config { return $_[0]{config} }


# A file under the prefix: write('html/index.html', $text).

sub write {
    my ($self, $name, $text, $mode) = @_;
    return $self->{lab}->write_file("$self->{prefix}/$name", $text, $mode);
}


# The command line of this nginx with these arguments, to run on its host.

sub command {
    my ($self, @args) = @_;

    my $tun = 'mount -t tmpfs none /dev/net && '
              . ($self->{no_tun} ? '' : "$MAKE_TUN && ") . 'exec "$@"';

    my @as = $self->{user}
        ? (qw(unshare -m sh -c), $tun, 'sh', 'setpriv',
           "--reuid=$self->{user}", "--regid=$self->{user}", '--init-groups',
           '--inh-caps=-all')
        : ();

    push @as, '--bounding-set=-all', '--no-new-privs',
        Tailnet::Lab->build('t/confine')
        if $self->{confined};

    return (@as, $self->{binary}, '-p', "$self->{prefix}/", '-c',
            'conf/nginx.conf', '-e', 'logs/error.log', '-g',
            "daemon off; pid logs/nginx.pid; "
            . "error_log logs/error.log $self->{level};", @args);
}


# Where there was none, for this nginx alone.

sub make_tun {
    my ($self) = @_;
    my $pid = $self->pid;

    return $self->{lab}->run('nsenter', "--mount=/proc/$pid/ns/mnt", 'sh',
                             '-c', $MAKE_TUN);
}


# Starts it in the foreground and waits for its workers. Writes no
# configuration: new() and configure() do.

sub start {
    my ($self) = @_;
    my $pid_file = "$self->{prefix}/logs/nginx.pid";

    unlink $pid_file;

    $self->{process} = $self->{host}->start($self->{name}, [$self->command],
        env => $self->{env}, signal => 'QUIT');

    $self->{process}->wait_until(10, 'start', sub {
        -s $pid_file
            && ($self->workers || $self->{config} =~ /^master_process off/m);
    });

    return $self;
}


# (status, output) of "nginx -t"

sub test_config {
    my ($self) = @_;
    return $self->{host}->capture('env', map({ "$_=$self->{env}{$_}" }
        sort keys %{$self->{env}}), $self->command, '-t');
}


# Sends HUP and waits for workers of the new configuration.

sub reload {
    my ($self, $seconds) = @_;
    my %old = map { $_ => 1 } $self->workers;

    $self->{process}->signal('HUP');

    $self->{process}->wait_until($seconds // 10, 'new workers',
        sub { grep { !$old{$_} } $self->workers });
}


# Ends it: gracefully, with its supervisor and core gone too; or by TERM.

sub quit {
    my ($self, $seconds) = @_;

    $self->{process}->{signal} = 'QUIT';

    return $self->{process}->stop($seconds // 40);
}


sub stop {
    my ($self, $seconds) = @_;

    $self->{process}->{signal} = 'TERM';

    return $self->{process}->stop($seconds // 40);
}


sub alive { return $_[0]{process} && $_[0]{process}->alive }
sub pid { return $_[0]{process}->pid }


# The master by the pid file: where it is a daemon, or not the one that was
# started any more. Nothing while there is none.

sub master {
    my ($self) = @_;
    my $text = $self->{lab}->read_file("$self->{prefix}/logs/nginx.pid");

    return $text =~ /^(\d+)$/ ? $1 : undef;
}


# Worker processes, from the children of the master that was started, or of
# another one, as master() has it.

sub workers {
    my ($self, @master) = @_;
    my $pid = (@master ? $master[0] : $self->pid) // return;
    my $children = $self->{lab}->read_file("/proc/$pid/task/$pid/children");

    return grep {
        $self->{lab}->read_file("/proc/$_/cmdline") =~ /worker process/
    } split ' ', $children;
}


sub error_log {
    my ($self) = @_;
    return $self->{lab}->read_file("$self->{prefix}/logs/error.log");
}


sub access_log {
    my ($self) = @_;
    return $self->{lab}->read_file("$self->{prefix}/logs/access.log");
}


# Lines of the error log that match.

sub errors {
    my ($self, $regex) = @_;
    return grep { /$regex/ } split /\n/, $self->error_log;
}


# Waits until the error log, all of it, matches; dies after the seconds.

sub wait_error_log {
    my ($self, $seconds, $regex) = @_;

    return eval {
        $self->{lab}->wait_for($seconds, "$regex in the error log",
                               sub { $self->error_log =~ $regex });
    } // croak "$@--- error log:\n" . $self->error_log;
}


1;
